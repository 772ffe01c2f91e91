"""What each command answers to programs: one typed document, with names that stay."""

from harness.answers.documents import Answer
from harness.answers.schema import answers_schema

__all__ = ["Answer", "answers_schema"]
