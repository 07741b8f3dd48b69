"""Tasks whose data are drawn: Yin-Yang, copying, adding, memory and evidence."""
