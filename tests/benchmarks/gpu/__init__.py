"""All that is to be seen on a GPU, in one command: see ``__main__``."""
