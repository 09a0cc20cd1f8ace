"""TLS: the same tests on asyncio's own implementation and on ours."""
