"""What can be known of a site without any host: the checks of ``provision test``."""
