"""The daemons."""

import asyncio

from testsite import SLOW


async def smtpd(world):
    world.kill("smtpd")
    await world.start("smtpd")


async def pop3d(world):
    world.kill("pop3d")
    await world.start("pop3d")


async def both(world):
    """Nobody is there who has seen the spool: whoever starts first recovers it."""
    world.kill("smtpd", "pop3d")
    await world.start(*world.rng.sample(("smtpd", "pop3d"), 2))


async def recovery(world):
    """smtpd, killed again while it recovers."""
    world.kill("smtpd")
    for _ in range(3):
        start = asyncio.create_task(world.start("smtpd"))
        while "smtpd" not in world.site.daemons:
            await asyncio.sleep(0)
        await asyncio.sleep(world.rng.uniform(0, .05) * min(SLOW, 3))
        world.site.daemons["smtpd"].process.kill()
        # Ready before that, or not.
        await asyncio.gather(start, return_exceptions=True)
        world.kill("smtpd")
    await world.start("smtpd")
