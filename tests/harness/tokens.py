"""Portal tokens that were changed on their way.

Owns: the one way in which a test makes a signature wrong. A signature is random: a test that writes fixed characters
into it changes nothing whenever they stand there already.
"""


def with_wrong_signature(token: str) -> str:
    """Return the token with another last character, which stands for other bits of the signature."""
    return token[:-1] + ("A" if token[-1] != "A" else "E")
