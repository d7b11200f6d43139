"""The command `doctor`: it checks what a process needs before one is started, and writes nothing."""

from enum import StrEnum
from typing import Annotated

import typer

from engine.config.redaction import one_line, remember_secrets
from meterport.commands.processes import Brokers, Group, Topic, require_services
from meterport.configuration import command_settings
from meterport.doctor.examination import Purpose, examine
from meterport.doctor.report import Finding, Status
from meterport.options import Config, DataDir
from meterport.terminal import print_json, silence_loggers


class ReportFormat(StrEnum):
    """How the findings are printed."""

    TEXT = "text"
    JSON = "json"


def doctor(
    config: Config = None,
    data_dir: DataDir = None,
    for_: Annotated[
        Purpose, typer.Option("--for", help="The command whose needs are checked; serve does the work of both others.")
    ] = Purpose.SERVE,
    kafka_brokers: Brokers = None,
    kafka_topic: Topic = None,
    kafka_group: Group = None,
    format_: Annotated[
        ReportFormat, typer.Option("--format", help="How to print it: a line for each check, or JSON.")
    ] = ReportFormat.TEXT,
) -> None:
    """Check what a process needs: ClickHouse, Kafka, the topic and the rights. Nothing is written anywhere.

    Each check is ok, a warning, a fault, or skipped because of a fault. The exit status is 1 if there is a fault, else
    0.

    \b
    Example:
      meterport doctor --for ingest --config meterport.yaml
    """
    settings = command_settings(
        config,
        listens=False,
        data_dir=data_dir,
        kafka__brokers=kafka_brokers,
        kafka__topic=kafka_topic,
        kafka__group=kafka_group,
    )
    if for_ is not Purpose.SERVE:
        require_services(settings, for_)
    remember_secrets(settings)
    silence_loggers()  # the findings say what is wrong
    found: list[Finding] = []
    for finding in examine(settings, for_):
        found.append(finding)
        if format_ is ReportFormat.TEXT:
            typer.echo(f"{finding.status:<8} {finding.check}: {one_line(finding.message)}")
    if format_ is ReportFormat.JSON:
        members = [{"status": each.status, "check": each.check, "message": one_line(each.message)} for each in found]
        print_json({"checks": members})
    if any(finding.status is Status.FAULT for finding in found):
        raise typer.Exit(1)
