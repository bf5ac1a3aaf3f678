"""Sizes of the vocabularies that are known before any data is read; nothing here needs a tensor."""

BYTE_VALUES = 256
"""Tokens 0 to 255 are the bytes of UTF-8 text."""

BYTE_SEPARATOR = BYTE_VALUES
"""The token that follows each document of the byte tokenizer."""

BYTE_VOCABULARY = BYTE_VALUES + 1
"""Bytes and the separator."""

MOST_TOKENS = 2**18
"""The largest vocabulary of a byte-pair encoding: the description of a checkpoint holds all of it."""

RECALL_FILLERS = 8
"""Filler symbols of the recall task; they are neither keys nor values."""
