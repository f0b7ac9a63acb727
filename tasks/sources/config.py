"""Configuration: text and structured settings, by pattern, on request without the secrets among them."""

from __future__ import annotations

from typing import ClassVar

from tasks.settings import SourceSettings
from tasks.sources.filetree import FileTree, FileTreeSettings, PatternLines
from tasks.sources.selection import Selection

SECRETS = (
    *(".env", ".env.*", "*.env", "!*.example", "!*.sample", "!*.template", "*.pem", "*.key", "*.p12", "*.pfx", "*.jks"),
    *("*.keystore", "*.kdbx", "*.gpg", "*.asc", "*.age", "id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", "!*.pub"),
    *(".ssh/", ".gnupg/", ".aws/", ".azure/", ".netrc", ".pgpass", ".my.cnf", ".htpasswd", ".git-credentials"),
    *(".npmrc", ".pypirc", ".dockercfg", "*secret*", "*credential*", "*password*", "*token*", "*.tfvars", "*.tfstate*"),
)
"""What `leave_out_secrets` leaves out, in capital letters too."""


class ConfigSettings(FileTreeSettings):
    """Text and structured configuration: all of the paths, or what `include` picks. Nothing is left out by guess: a
    file that one service calls `mime.types` is as much configuration as another's `app.toml`."""

    leave_out_secrets: bool = False
    """Leave out what looks like a secret by its name: .env, *.pem, *.key, id_rsa*, *secret*, *credential*, *token* and
    such. How many and which were left out is noted in each snapshot. They must be kept elsewhere then."""

    secret_patterns: PatternLines = ()
    """More patterns of secrets to leave out, in capital letters too; `!` before one takes it nevertheless."""


class Config(FileTree):
    kind: ClassVar[str] = "config"
    Settings: ClassVar[type[SourceSettings]] = ConfigSettings
    settings: ConfigSettings

    def selection(self) -> Selection:
        settings = self.settings
        secrets = (*SECRETS, *settings.secret_patterns) if settings.leave_out_secrets else ()
        return Selection(settings.include, settings.exclude, secrets)
