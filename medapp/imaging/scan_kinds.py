"""Kinds of scan: the sequences of MR, CT and PET, and how series and files are named after sequences."""

import re

FLAIR, T1, T1_CONTRAST, T2, PD = "FLAIR", "T1", "T1 with contrast", "T2", "PD"
SEQUENCES = (FLAIR, T1, T1_CONTRAST, T2, PD)
CT, PET = "CT", "PET"

T1_WORDS = {"t1", "t1w", "t1n", "t1wi", "mprage", "memprage", "spgr", "fspgr", "bravo"}
T2_WORDS = {"t2", "t2w", "t2wi"}
PD_WORDS = {"pd", "pdw", "proton"}
FLAIR_WORDS = {"flair", "t2f", "t2flair", "flairw", "darkfluid"}
ENHANCED_T1_WORDS = {"t1c", "t1ce", "t1gd", "t1post", "t1km"}
ENHANCED_WORDS = {"ce", "gd", "gad", "gado", "gadolinium", "post", "postcontrast", "contrast", "enhanced", "km"}
PLAIN_WORDS = {"pre", "precontrast", "without", "no", "non", "native"}


def find_sequence(text: str, enhanced: bool = False) -> str:
    """Return which of SEQUENCES a name, such as "sub-01_FLAIR" or "t1_mprage_sag", tells; "" for none or several.

    `enhanced` says that contrast agent was given, for a T1 whose name does not.
    """
    words = set(
        re.findall(r"[a-z0-9]+", text.lower().replace("dark-fluid", "darkfluid").replace("dark_fluid", "darkfluid"))
    )
    found = {
        T1: words & (T1_WORDS | ENHANCED_T1_WORDS),
        T2: words & T2_WORDS,
        PD: words & PD_WORDS,
        FLAIR: words & FLAIR_WORDS,
    }
    told = [sequence for sequence, own in found.items() if own]
    if told == [T2, FLAIR]:  # a FLAIR is weighted by T2
        return FLAIR
    if len(told) != 1:
        return ""
    if told[0] == T1 and (enhanced or words & (ENHANCED_T1_WORDS | ENHANCED_WORDS)) and not words & PLAIN_WORDS:
        return T1_CONTRAST
    return told[0]
