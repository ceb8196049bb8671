"""Where clocks and threads begin: the components of the guide, over the log."""
