"""The standard toxics that end a connection: late, in time, by reset, after so many bytes."""

from __future__ import annotations

from fault_injection.proxy.toxics.stream import Stage, seconds_of


class SlowClose(Stage):
    """Waits `delay` ms before it passes the end of the stream on."""

    type = "slow_close"
    attributes = ("delay",)
    ending = False

    def on_end(self) -> None:
        if not self.ending:
            self.ending = True
            self.wake_in(seconds_of(self.value("delay"), 1000))

    def on_alarm(self) -> None:
        self.close()

    def interrupt(self) -> None:
        self.cancel()
        if self.ending and not self.ended:
            self.close()


class Timeout(Stage):
    """Swallows all data and closes after `timeout` ms without any; 0 never closes."""

    type = "timeout"
    attributes = ("timeout",)

    def start(self) -> None:
        self.cancel()
        if self.active and self.value("timeout") > 0:
            self.wake_in(seconds_of(self.value("timeout"), 1000))

    def on_data(self, data: bytes, at_s: float) -> None:
        self.start()

    def on_alarm(self) -> None:
        self.close()

    def removed(self) -> None:
        """Data was lost: the connection cannot go on."""
        self.cancel()
        if self.active and not self.ended:
            self.close()


class ResetPeer(Stage):
    """Resets both peers `timeout` ms after the first data (or end) of the stream."""

    type = "reset_peer"
    attributes = ("timeout",)
    triggered = False

    def on_data(self, data: bytes, at_s: float) -> None:
        if not self.triggered:
            self.triggered = True
            self.wake_in(seconds_of(self.value("timeout"), 1000))

    def on_end(self) -> None:
        self.on_data(b"", 0.0)

    def on_alarm(self) -> None:
        self.ended = True
        self.link.reset_connection()

    def interrupt(self) -> None:
        self.cancel()
        if self.triggered and not self.ended:
            self.on_alarm()


class LimitData(Stage):
    """Closes the connection once `bytes` bytes have passed."""

    type = "limit_data"
    attributes = ("bytes",)
    passed = 0

    def on_data(self, data: bytes, at_s: float) -> None:
        left = self.value("bytes") - self.passed
        head = data[: max(left, 0)]
        self.passed += len(head)
        if head:
            self.next.feed(head, at_s)
        if len(data) >= left:
            self.close()
