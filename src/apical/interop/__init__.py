"""Exchange of networks with other libraries, each by its own module and extra."""
