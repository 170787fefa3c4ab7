"""The board around the accelerator: model, HAT+, boot loader, power and clocks."""
