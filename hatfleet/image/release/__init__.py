"""What comes out of a build beside the disk image: what it is, what is in it, how it was made, and proof of that."""
