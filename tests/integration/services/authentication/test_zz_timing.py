import time, statistics as st, math
from services.authentication.domain.hashing import HashingPool
from services.authentication.domain.passwords import HashParameters
from services.authentication.domain.proving import Prover
from services.authentication.domain.throttle import ThrottleRule
from services.authentication.domain.sign_in import SignIn
from mesh.secret import Secret
from .support import *
import asyncio, random
async def test_timing(world):
    pool = HashingPool(1, 64, HashParameters)
    await world.user("ann")
    pr = Prover(world.store, pool, lambda: ThrottleRule(free_attempts=10**6), world.clock)
    s = SignIn(world.store, pr, world.issuer, world.trail, world.clock)
    world.accounts._hashing = pool
    from services.authentication.domain.accounts import NewUser
    await world.accounts.create(NewUser("bob", PASSWORD), ROOT, None)
    res = {"bob": [], "nobody": []}
    for _ in range(120):
        n = random.choice(list(res)); t = time.perf_counter()
        try: await s.sign_in(n, Secret("wrong wrong"), CLIENT)
        except Exception as e: assert e.reason == "LOGIN_FAILED"
        res[n].append(time.perf_counter() - t)
    a, b = res.values()
    w = (st.mean(a) - st.mean(b)) / math.sqrt(st.variance(a)/len(a) + st.variance(b)/len(b))
    print("WELCH", w, st.median(a)*1e3, st.median(b)*1e3)
    t = time.perf_counter()
    r = await asyncio.gather(*(s.sign_in("bob", PASSWORD, CLIENT) for _ in range(100)), return_exceptions=True)
    print("STORM", {type(x).__name__: sum(type(y) is type(x) for y in r) for x in r}, time.perf_counter() - t)
    pool.close()
