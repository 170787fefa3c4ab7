"""Where the real package keeps its classes; its exceptions are to be had only from here."""
