"""From a recipe to a bootable disk image: stages, each cached under a key made from everything that goes into it."""
