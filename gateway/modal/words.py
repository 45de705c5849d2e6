"""What users are told when work at Modal ends badly. The provider's own words stay in the trace (product section 4)."""

from __future__ import annotations

from protocol.errors import Category, Fault, ProviderFailure

NO_LONGER_SET_UP = (
    "The speech provider that this was begun with is no longer set up on this server. Please start it again."
)
JOB_FAILED = "The speech service could not finish this generation. Please try again."
JOB_CANCELLED = "The speech service cancelled this generation. Please generate it again."
JOB_TOO_LONG = "The speech service did not finish this generation in time. Please generate it again."
JOB_UNKNOWN = "The speech service does not know this generation. Please generate it again."
JOB_WITHOUT_GENERATION = "Its generation was deleted."
INTERRUPTED = "The server was restarted before this generation began. Please generate it again."
DESIGN_INCOMPLETE = "This preview was asked for without a text or a description. Please design it again."
DESIGN_INTERRUPTED = "The server was restarted before this preview finished. Please design it again."
DESIGN_REFUSED = (
    "The speech service cannot design a voice from this text, description and language. "
    "Please change them and try again."
)
NOT_STORED = "The audio was made but could not be stored. Please try again."
CRASHED = "Something went wrong on our side. Please try again."


def of_design(failure: ProviderFailure) -> str:
    """Why a preview failed."""
    return DESIGN_REFUSED if failure.fault is Fault.BAD_INPUT else failure.fault.facts.detail


def category(failure: ProviderFailure) -> Category:
    """That of a failed submit. What was sent is ours, so a complaint about it is no mistake of the user's."""
    found = failure.fault.facts.category
    return Category.PROVIDER_REJECTED if found is Category.VALIDATION else found
