"""Generations and voice previews as jobs at Modal (product section 7, v1 contract 2 and 4)."""

from gateway.modal.admission import ModalOrder
from gateway.modal.jobs import ModalJobs, Polled

__all__ = ["ModalJobs", "ModalOrder", "Polled"]
