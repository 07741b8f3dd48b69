"""Claims about learning without a teacher."""
