"""Networks that embed images, and the number format they compute in."""
