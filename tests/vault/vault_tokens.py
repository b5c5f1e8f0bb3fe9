"""Vault's tokens, AppRole and policies of one namespace."""

import json
import secrets
import time
from dataclasses import dataclass, field

from vault_transit import Refused

DENIED = Refused(403, "permission denied")
CAPABILITY = {"GET": "read", "POST": "update", "PUT": "update", "DELETE": "delete"}


@dataclass
class Token:
    namespace: str
    policies: list[str]
    ttl: float
    max_ttl: float
    renewable: bool = True
    id: str = field(default_factory=lambda: "hvs." + secrets.token_urlsafe(32))
    created: float = field(default_factory=time.monotonic)
    renewals: int = 0

    def __post_init__(self):
        self.expires = self.created + self.ttl

    def left(self) -> float:
        return self.expires - time.monotonic() if self.ttl else float("inf")

    def renew(self) -> None:
        if not self.renewable:
            raise Refused(400, "lease is not renewable")
        self.expires = min(time.monotonic() + self.ttl, self.created + self.max_ttl)
        self.renewals += 1

    def auth(self) -> dict:
        return {
            "client_token": self.id,
            "accessor": "accessor",
            "policies": ["default", *self.policies],
            "token_policies": ["default", *self.policies],
            "metadata": None,
            # Whole seconds, as Vault counts.
            "lease_duration": int(self.left() + 0.5) if self.ttl else 0,
            "renewable": self.renewable,
            "token_type": "service",
            "orphan": True,
        }

    def data(self) -> dict:
        return {
            "id": self.id,
            "ttl": int(self.left() + 0.5) if self.ttl else 0,
            "creation_ttl": int(self.ttl),
            "renewable": self.renewable,
            "policies": ["default", *self.policies],
            "type": "service",
        }


@dataclass
class Role:
    settings: dict
    role_id: str = field(default_factory=secrets.token_hex)
    secret_ids: list[str] = field(default_factory=list)


class AppRole:
    """One mount of the auth method."""

    def __init__(self):
        self.roles: dict[str, Role] = {}

    def login(self, namespace: str, body: dict) -> Token:
        role = next((role for role in self.roles.values() if role.role_id == body.get("role_id")), None)
        if role is None or body.get("secret_id") not in role.secret_ids:
            raise Refused(400, "invalid role or secret ID")
        settings = role.settings
        ttl = seconds(settings.get("token_ttl", 3600))
        policies = settings.get("token_policies") or []
        policies = policies.split(",") if isinstance(policies, str) else policies
        max_ttl = seconds(settings.get("token_max_ttl", 0)) or 32 * 86400
        return Token(namespace, policies, min(ttl, max_ttl), max_ttl, settings.get("token_type") != "batch")

    def call(self, method: str, path: list[str], body: dict) -> dict | None:
        match path, method:
            case ["role", name], "POST" | "PUT":
                self.roles.setdefault(name, Role({})).settings.update(body)
                return None
            case ["role", name, "role-id"], "GET" if name in self.roles:
                return {"role_id": self.roles[name].role_id}
            case ["role", name, "secret-id"], "POST" | "PUT" if name in self.roles:
                secret_id = secrets.token_hex()
                self.roles[name].secret_ids.append(secret_id)
                return {"secret_id": secret_id, "secret_id_accessor": "accessor", "secret_id_ttl": 0, "secret_id_num_uses": 0}
        raise Refused(404)


class Policy:
    """A policy in JSON: Vault takes it as it takes HCL."""

    def __init__(self, text: str):
        self.rules = {path: set(rule["capabilities"]) for path, rule in json.loads(text)["path"].items()}

    def allows(self, method: str, path: str) -> bool:
        def matches(rule: str) -> bool:
            return path.startswith(rule[:-1]) if rule.endswith("*") else path == rule

        wanted = {CAPABILITY[method]} | ({"create"} if method in ("POST", "PUT") else set())
        return any(matches(rule) and wanted & allowed for rule, allowed in self.rules.items())


# Vault's policy `default`: what every token may do with itself.
DEFAULT = Policy(
    json.dumps(
        {
            "path": {
                "auth/token/lookup-self": {"capabilities": ["read"]},
                "auth/token/renew-self": {"capabilities": ["update"]},
                "auth/token/revoke-self": {"capabilities": ["update"]},
            }
        }
    )
)


def seconds(duration) -> float:
    if isinstance(duration, str):
        unit = {"s": 1, "m": 60, "h": 3600}.get(duration[-1])
        return float(duration[:-1]) * unit if unit else float(duration)
    return float(duration)
