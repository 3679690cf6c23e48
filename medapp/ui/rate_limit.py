"""Rate limit: how many requests one address may make in a minute."""

import threading
import time
from collections import OrderedDict

MAX_ADDRESSES = 10_000  # that are remembered


class RateLimiter:
    """A token bucket for each address, which refills steadily; 0 requests per minute mean no limit. Thread-safe."""

    def __init__(self, per_minute: int) -> None:
        """Start with a full bucket for every address."""
        self.per_minute = per_minute
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # by address: requests left, at what time
        self._lock = threading.Lock()

    def allows(self, address: str, cost: float = 1) -> bool:
        """Whether the address may make requests of this cost now, which are then counted."""
        if not self.per_minute:
            return True
        with self._lock:
            now = time.monotonic()
            left, then = self._buckets.pop(address, (float(self.per_minute), now))
            left = min(float(self.per_minute), left + (now - then) * self.per_minute / 60)
            self._buckets[address] = (left - cost if left >= cost else left, now)
            if len(self._buckets) > MAX_ADDRESSES:
                self._buckets.popitem(last=False)
            return left >= cost
