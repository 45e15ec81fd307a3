"""Where contents come from that a column only names: large objects, files, URLs, object stores."""
