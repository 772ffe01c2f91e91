"""Networks that embed images, the momentum teacher, and the number format they compute in."""
