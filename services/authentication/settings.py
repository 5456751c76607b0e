"""What authentication is told at start, and what may be changed while it runs."""

import os
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from mesh.configuration import ConfigurationWatch, SettingDefinition
from mesh.identity import rules
from mesh.secret import Secret
from services.authentication.domain.api_key import KeyRules
from services.authentication.domain.factor import FactorRules
from services.authentication.domain.first_user import FirstPassword
from services.authentication.domain.passwords import HashParameters, PasswordPolicy
from services.authentication.domain.revocation import LONGEST_ACCESS_TOKEN
from services.authentication.domain.session import Lifetimes
from services.authentication.domain.throttle import Rules, ThrottleRule


def _as_secret(value: object) -> object:
    return Secret(value) if isinstance(value, str) else value


class AuthenticationSettings(BaseSettings):
    """Settings of this service besides those of every process."""

    model_config = SettingsConfigDict(
        env_prefix="VIVESPHERE_", frozen=True, arbitrary_types_allowed=True, hide_input_in_errors=True
    )

    admin_password: Annotated[Secret | None, BeforeValidator(_as_secret)] = None
    """First password of the user `admin`, which needs no change; used only when there is no user. Prefer the file."""
    admin_password_file: Path | None = None
    """File with the first password of the user `admin`; read only when there is no user."""
    admin_one_time_password_file: Path | None = None
    """File with a first password that has to be changed at the first sign-in; used when neither of the above is given."""
    hashing_threads: int = Field(default_factory=lambda: max(1, (os.cpu_count() or 1) - 1), ge=1, le=64)
    """Passwords checked at the same time, each on a thread of its own; one core less than there are leaves room for other calls."""
    hashing_queue: int = Field(default=64, ge=0, le=10_000)
    """Callers that may wait for a thread before more are refused with OVERLOADED."""

    def first_password(self) -> FirstPassword | None:
        """The first administrator's password. Raises OSError and ValueError if its file cannot be read."""
        if self.admin_password:
            return FirstPassword(self.admin_password, one_time=False)
        if self.admin_password_file is not None:
            return FirstPassword(Secret.from_file(self.admin_password_file), one_time=False)
        if self.admin_one_time_password_file is not None:
            return FirstPassword(Secret.from_file(self.admin_one_time_password_file), one_time=True)
        return None


def _whole(minimum: int, maximum: int) -> dict[str, Any]:
    return {"type": "integer", "minimum": minimum, "maximum": maximum}


HASH_ITERATIONS: Final = SettingDefinition(
    key="authentication.password_hash.iterations",
    default=2,
    json_schema=_whole(1, 20),
    description="Passes of Argon2id over its memory. New passwords and the next sign-ins use it; OWASP's minimum with 19 MiB is 2.",
    unit="passes",
)
HASH_MEMORY: Final = SettingDefinition(
    key="authentication.password_hash.memory",
    default=19_456,
    json_schema=_whole(7_168, 2_097_152),
    description="Memory of one Argon2id hash. Times the number of hashing threads it is what sign-ins may take of the memory. RFC 9106"
    " recommends 2 GiB with 1 pass, or else 64 MiB with 3 passes, both with 4 lanes.",
    unit="KiB",
)
HASH_LANES: Final = SettingDefinition(
    key="authentication.password_hash.lanes",
    default=1,
    json_schema=_whole(1, 16),
    description="Lanes of Argon2id. OWASP's figures are for 1.",
    unit="lanes",
)
SIGNING_KEY_INTERVAL: Final = SettingDefinition(
    key="authentication.signing_key.rotation_interval",
    default=30 * 86_400,
    json_schema=_whole(3_600, 366 * 86_400),
    description="How long a key signs access tokens before the next one does. Rotation disturbs nobody.",
    unit="seconds",
)
ACCESS_TOKEN_LIFETIME: Final = SettingDefinition(
    key="authentication.access_token.lifetime",
    default=300,
    json_schema=_whole(30, int(LONGEST_ACCESS_TOKEN.total_seconds())),
    description="How long an access token is good. Shorter means more refreshes and a sooner end of what cannot be revoked.",
    unit="seconds",
)
SESSION_IDLE_LIFETIME: Final = SettingDefinition(
    key="authentication.session.idle_lifetime",
    default=7 * 86_400,
    json_schema=_whole(300, 90 * 86_400),
    description="A session that is not refreshed for this long ends.",
    unit="seconds",
)
SESSION_LIFETIME: Final = SettingDefinition(
    key="authentication.session.lifetime",
    default=30 * 86_400,
    json_schema=_whole(300, 366 * 86_400),
    description="A session ends this long after signing in, however busy it is. Holds for sessions that start after the change.",
    unit="seconds",
)
SESSION_MAX_PER_USER: Final = SettingDefinition(
    key="authentication.session.max_per_user",
    default=100,
    json_schema=_whole(1, 10_000),
    description="Sessions that one user may have at the same time. A sign-in beyond it ends the oldest.",
    unit="sessions",
)
ONE_TIME_LIFETIME: Final = SettingDefinition(
    key="authentication.one_time_password.lifetime",
    default=86_400,
    json_schema=_whole(300, 30 * 86_400),
    description="How long a one-time password made by ResetPassword is good. It may lie in a mailbox for as long.",
    unit="seconds",
)
CONTEXT_WORDS: Final[SettingDefinition[list[str]]] = SettingDefinition(
    key="authentication.password.context_words",
    default=[],
    json_schema={
        "type": "array",
        "maxItems": 100,
        "items": {"type": "string", "minLength": 3, "maxLength": 64},
    },
    description="Words that are no password here, such as the company's name: refused alone, in leet spelling, and with up to four"
    " digits and signs around them. The names of product and user are refused anyway.",
)
ACCOUNT_FREE_ATTEMPTS: Final = SettingDefinition(
    key="authentication.throttle.account.free_attempts",
    default=10,
    json_schema=_whole(2, 100),
    description="Failed sign-ins in a row to one account, from everywhere together, before the next from an unknown device has to"
    " wait. One address alone uses up half of them at most. NIST 800-63B allows 100.",
    unit="attempts",
)
ACCOUNT_LONGEST_PAUSE: Final = SettingDefinition(
    key="authentication.throttle.account.longest_pause",
    default=300,
    json_schema=_whole(1, 3_600),
    description="Longest wait between failed sign-ins to one account; waits begin at one second and double. It is what strangers with"
    " many addresses can delay the owner on an unknown device, and what bounds their guesses: 306 a day by default.",
    unit="seconds",
)
ADDRESS_FREE_ATTEMPTS: Final = SettingDefinition(
    key="authentication.throttle.address.free_attempts",
    default=100,
    json_schema=_whole(1, 1_000),
    description="Failed sign-ins in a row from one address (IPv6: one /64), to all accounts together, before the next has to wait. More"
    " where many people share one address. A right password takes back only its own count.",
    unit="attempts",
)
ADDRESS_LONGEST_PAUSE: Final = SettingDefinition(
    key="authentication.throttle.address.longest_pause",
    default=300,
    json_schema=_whole(1, 3_600),
    description="Longest wait between failed sign-ins from one address; waits begin at one second and double. It bounds trying a few"
    " common passwords with many names: 396 guesses a day by default.",
    unit="seconds",
)
PAIR_FREE_ATTEMPTS: Final = SettingDefinition(
    key="authentication.throttle.pair.free_attempts",
    default=5,
    json_schema=_whole(1, 100),
    description="Failed sign-ins in a row to one account from one address, or from one known device, before the next has to wait.",
    unit="attempts",
)
PAIR_LONGEST_PAUSE: Final = SettingDefinition(
    key="authentication.throttle.pair.longest_pause",
    default=900,
    json_schema=_whole(1, 3_600),
    description="Longest wait between failed sign-ins to one account from one address, or from one known device; waits begin at one"
    " second and double. It bounds guessing from one place: 110 guesses a day by default.",
    unit="seconds",
)
REAUTHENTICATION_MAX_AGE: Final = SettingDefinition(
    key="authentication.reauthentication.max_age",
    default=300,
    json_schema=_whole(60, 86_400),
    description=(
        "How long ago the password may have been proved in a session for turning a second factor on or off without it,"
        " and a second factor for changing the password without a code."
    ),
    unit="seconds",
)
CODE_FREE_ATTEMPTS: Final = SettingDefinition(
    key="authentication.second_factor.free_attempts",
    default=5,
    json_schema=_whole(1, 20),
    description="Wrong codes in a row of one user before the next has to wait.",
    unit="attempts",
)
CODE_FIRST_PAUSE: Final = SettingDefinition(
    key="authentication.second_factor.first_pause",
    default=30,
    json_schema=_whole(1, 3_600),
    description="First wait after too many wrong codes; it doubles with each further one.",
    unit="seconds",
)
CODE_LONGEST_PAUSE: Final = SettingDefinition(
    key="authentication.second_factor.longest_pause",
    default=3_600,
    json_schema=_whole(30, 86_400),
    description="Longest wait between wrong codes. At an hour, guessing one of a million takes longer than anybody's career.",
    unit="seconds",
)
API_KEYS_PER_USER: Final = SettingDefinition(
    key="authentication.api_keys.max_per_user",
    default=100,
    json_schema=_whole(1, 10_000),
    description="API keys in force that one user may have. Lowering it ends none; it stops new ones.",
    unit="keys",
)

DEFINITIONS: Final = (
    *rules.DEFINITIONS,
    SIGNING_KEY_INTERVAL,
    HASH_ITERATIONS,
    HASH_MEMORY,
    HASH_LANES,
    ACCESS_TOKEN_LIFETIME,
    SESSION_IDLE_LIFETIME,
    SESSION_LIFETIME,
    SESSION_MAX_PER_USER,
    ONE_TIME_LIFETIME,
    CONTEXT_WORDS,
    ACCOUNT_FREE_ATTEMPTS,
    ACCOUNT_LONGEST_PAUSE,
    ADDRESS_FREE_ATTEMPTS,
    ADDRESS_LONGEST_PAUSE,
    PAIR_FREE_ATTEMPTS,
    PAIR_LONGEST_PAUSE,
    REAUTHENTICATION_MAX_AGE,
    CODE_FREE_ATTEMPTS,
    CODE_FIRST_PAUSE,
    CODE_LONGEST_PAUSE,
    API_KEYS_PER_USER,
)


class Numbers:
    """The settings in force, as the domain wants them; read anew at each use."""

    def __init__(self, configuration: ConfigurationWatch) -> None:
        self._value = configuration.value

    def hash_cost(self) -> HashParameters:
        """Cost of new password hashes."""
        return HashParameters(
            iterations=self._value(HASH_ITERATIONS),
            memory_kib=self._value(HASH_MEMORY),
            lanes=self._value(HASH_LANES),
        )

    def signing_key_interval(self) -> timedelta:
        """How long a key signs."""
        return timedelta(seconds=self._value(SIGNING_KEY_INTERVAL))

    def lifetimes(self) -> Lifetimes:
        """How long tokens and sessions last."""
        return Lifetimes(
            access_token=timedelta(seconds=self._value(ACCESS_TOKEN_LIFETIME)),
            idle=timedelta(seconds=self._value(SESSION_IDLE_LIFETIME)),
            session=timedelta(seconds=self._value(SESSION_LIFETIME)),
            max_per_user=self._value(SESSION_MAX_PER_USER),
        )

    def password_policy(self) -> PasswordPolicy:
        """What new passwords must not be, and how long one-time passwords are good."""
        words = self._value(CONTEXT_WORDS)
        return PasswordPolicy(
            context_words=tuple(words),
            one_time_lifetime=timedelta(seconds=self._value(ONE_TIME_LIFETIME)),
        )

    def throttle(self) -> Rules:
        """How failed sign-ins slow down the next."""
        return Rules(
            account=self._rule(ACCOUNT_FREE_ATTEMPTS, ACCOUNT_LONGEST_PAUSE),
            address=self._rule(ADDRESS_FREE_ATTEMPTS, ADDRESS_LONGEST_PAUSE),
            pair=self._rule(PAIR_FREE_ATTEMPTS, PAIR_LONGEST_PAUSE),
        )

    def factors(self) -> FactorRules:
        """How second factors are proved and changed."""
        return FactorRules(
            throttle=ThrottleRule(
                free_attempts=self._value(CODE_FREE_ATTEMPTS),
                first_pause=timedelta(seconds=self._value(CODE_FIRST_PAUSE)),
                longest_pause=timedelta(seconds=self._value(CODE_LONGEST_PAUSE)),
            ),
            reauthentication_max_age=timedelta(seconds=self._value(REAUTHENTICATION_MAX_AGE)),
        )

    def api_keys(self) -> KeyRules:
        """How many API keys there may be."""
        return KeyRules(max_per_user=self._value(API_KEYS_PER_USER))

    def _rule(self, free: SettingDefinition[int], longest: SettingDefinition[int]) -> ThrottleRule:
        return ThrottleRule(self._value(free), timedelta(seconds=self._value(longest)))
