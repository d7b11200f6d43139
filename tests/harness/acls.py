"""Rights on a broker with an authorizer: a test takes them away and gives them back, for every user.

Owns: the settings of such a broker. Everything is allowed until the first rule is made.
"""

from collections.abc import Iterable
from concurrent.futures import Future

from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import AclBinding, AclBindingFilter, AclOperation, AclPermissionType
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType

from tests.harness.topics import WAIT_SECONDS

AUTHORIZER = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found": "true",
    "broker.session.timeout.ms": "30000",  # no test kills it, but a busy machine may stall it
}
ALL = [(ResourceType.TOPIC, "*"), (ResourceType.BROKER, "kafka-cluster")]
GROUPS = (ResourceType.GROUP, "*")


def rule(kind: ResourceType, name: str, operation: AclOperation, permission: AclPermissionType) -> AclBinding:
    return AclBinding(kind, name, ResourcePatternType.LITERAL, "User:ANONYMOUS", "*", operation, permission)


def deny(admin: AdminClient, kind: ResourceType, operation: AclOperation) -> None:
    """Take a right on everything of a kind away. All others are there."""
    allowed = [rule(*place, AclOperation.ALL, AclPermissionType.ALLOW) for place in (*ALL, GROUPS)]
    wait_until_done(admin.create_acls(allowed).values())
    wait_until_done(admin.create_acls([rule(kind, _name(kind), operation, AclPermissionType.DENY)]).values())


def grant(admin: AdminClient, kind: ResourceType, operation: AclOperation) -> None:
    """Give a right back that `deny` took away."""
    denied = AclBindingFilter(
        kind, _name(kind), ResourcePatternType.LITERAL, "User:ANONYMOUS", "*", operation, AclPermissionType.DENY
    )
    wait_until_done(admin.delete_acls([denied]).values())


def _name(kind: ResourceType) -> str:
    return "kafka-cluster" if kind is ResourceType.BROKER else "*"


def wait_until_done(futures: Iterable[Future[object]]) -> None:
    for future in futures:
        future.result(WAIT_SECONDS)
