"""MLflow's tracking server and model registry, through its public REST API.

:class:`Registry` is what the rest of the bot uses. Each registry has its own credentials, deadlines and errors, and
sends its credentials to its own server only. The bot imports MLflow's SDK only for artifacts in stores that it does
not know itself (Google's, Azure's, FTP, …), and only when it reads them.
"""

from bot.systems.mlflow.contents import CHUNK_BYTES, PackageContents
from bot.systems.mlflow.registry import RegisteredVersion, Registry

__all__ = ["CHUNK_BYTES", "PackageContents", "RegisteredVersion", "Registry"]
