"""
The licence keys in the environment of a command.
"""

#: What follows the prefix of a key must never be seen.
SECRETS = ("Publicpart1", "Privatepart2")
KEY = f"rm_pub_{SECRETS[0]}"
PRIVATE_KEY = f"rm_sec_{SECRETS[1]}"
