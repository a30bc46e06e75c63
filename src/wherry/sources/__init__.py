"""Where inputs come from: Python indexes, Debian archives, registries' credentials.

Configuration says where; nothing here is locked.
"""
