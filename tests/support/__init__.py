"""What several tests share: problems, hand-written references, data, the zoo."""
