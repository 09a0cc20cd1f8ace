"""Call an API that has two quotas: requests a second, and tokens a minute."""

from __future__ import annotations

import tonnage

requests = tonnage.RateLimiter(200, burst=5, name="requests")
tokens = tonnage.RateLimiter(600_000, per=60, burst=1000, name="tokens")
# How many calls may be open at once is a matter of its own.
calls = tonnage.CapacityLimiter(10, name="calls")


async def complete(prompt: str) -> int:
    """Stand in for a call that costs one token a character."""
    # All are taken in one order everywhere, so that nobody waits in a circle.
    async with calls:
        await requests.acquire()
        await tokens.acquire(len(prompt))
        await tonnage.sleep(0.001)
        return len(prompt)


async def main() -> None:
    started = tonnage.get_running_loop().time()
    prompts = ["x" * (10 + number % 90) for number in range(40)]
    spent = sum(await tonnage.amap(complete, prompts, limit=20))
    took = tonnage.get_running_loop().time() - started
    print(f"{len(prompts)} calls, {spent} tokens in {took:.2f} s: {len(prompts) / took:.0f} a second of 200")


tonnage.run(main())
