"""The one place where the service's concrete classes meet."""

from mesh.ids import new_id
from mesh.process import Process
from services.secure_bot_data.domain.changing import VersionChanger
from services.secure_bot_data.domain.destroying import BotSecretDestroyer
from services.secure_bot_data.domain.keys import KeyKeeper
from services.secure_bot_data.domain.reading import SecretReader
from services.secure_bot_data.domain.rewrapping import Rewrapper, SecretRewrapper
from services.secure_bot_data.domain.rolling_back import SecretRollback
from services.secure_bot_data.domain.rotating import SecretRotator
from services.secure_bot_data.domain.settling import Settler
from services.secure_bot_data.domain.writing import SecretWriter
from services.secure_bot_data.servicers.bot_secrets import BotSecretServicer
from services.secure_bot_data.servicers.refusals import RefusedReadings
from services.secure_bot_data.servicers.secret_keys import SecretKeyServicer
from services.secure_bot_data.settings import LEASES_MAX_PER_BOT
from services.secure_bot_data.store.catalogue import PostgresCatalogue
from services.secure_bot_data.store.keys import PostgresKeyCatalogue
from services.secure_bot_data.store.rewrap_jobs import PostgresRewrapJobs
from services.secure_bot_data.store.rotations import PostgresRotations
from services.secure_bot_data.store.service_values import ServiceValues
from services.secure_bot_data.store.trail import PostgresTrail
from services.secure_bot_data.store.vault import VaultSecrets
from vivesphere.secure_bot_data.v1.bot_secret_service_pb2_grpc import add_BotSecretServiceServicer_to_server
from vivesphere.secure_bot_data.v1.secret_key_service_pb2_grpc import add_SecretKeyServiceServicer_to_server


async def assemble(process: Process) -> None:
    """Puts the service together on `process`."""
    process.define_settings(LEASES_MAX_PER_BOT)
    client = process.vault()
    vault = VaultSecrets(client, process.settings.vault_kv_prefix)
    process.health.add("vault", vault.check)
    catalogue = PostgresCatalogue(process.database, process.audit.conclude)
    trail = PostgresTrail(process.database, process.clock, process.audit.conclude)
    settler = Settler(vault, catalogue, process.clock)
    writer = SecretWriter(vault, catalogue, settler, process.clock, new_id)
    changer = VersionChanger(vault, catalogue, settler, process.clock, new_id)
    reader = SecretReader(
        vault, trail, process.clock, new_id, lambda: process.configuration.value(LEASES_MAX_PER_BOT)
    )
    rollback = SecretRollback(vault, catalogue, settler, writer, process.clock)
    rotator = SecretRotator(PostgresRotations(process.database), settler, new_id)
    RefusedReadings(trail, process.clock, new_id).follow(process.audit)
    process.tasks.spawn_loop(vault.run, name="encryption")
    process.tasks.spawn_loop(catalogue.run, name="catalogue")
    process.tasks.spawn_loop(trail.run, name="access trail")
    process.tasks.spawn(settler.run(), name="settler")
    servicer = BotSecretServicer(
        writer,
        changer,
        reader,
        rollback,
        rotator,
        BotSecretDestroyer(catalogue, changer),
        ServiceValues(client),
        catalogue,
        trail,
        process.page_secret(),
    )
    process.serve(add_BotSecretServiceServicer_to_server, servicer)
    keys = PostgresKeyCatalogue(process.database)
    jobs = PostgresRewrapJobs(process.database)
    secret = SecretRewrapper(vault, keys, writer, changer, settler)
    rewrapper = Rewrapper(vault, jobs, secret, process.clock, new_id)
    process.tasks.spawn_loop(rewrapper.run, name="rewrapper")
    process.serve(
        add_SecretKeyServiceServicer_to_server,
        SecretKeyServicer(vault, keys, KeyKeeper(vault, keys), rewrapper, jobs, process.page_secret()),
    )
