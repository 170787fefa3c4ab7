"""The report as JUnit XML, which CI systems read: one test suite a host, one test case a control."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from hatfleet.compliance.results import ControlResult, HostOutcome, HostResult, Outcome, Report, printable


def junit_xml(report: Report) -> str:
    """Return the report as a JUnit document.

    A host that could not be checked to the end has a test case of its own that is an error, so that a suite without
    results is never read as a green one.
    """
    root = ET.Element("testsuites", name="hatfleet check")
    stamp = report.started.replace(tzinfo=None).isoformat(timespec="seconds")
    for host in report.hosts:
        root.append(_suite(host, stamp))
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _suite(host: HostResult, stamp: str) -> ET.Element:
    incomplete = host.outcome in (HostOutcome.ERROR, HostOutcome.UNREACHABLE, HostOutcome.INTERRUPTED)
    suite = ET.Element(
        "testsuite",
        name=host.name,
        hostname=host.name,
        timestamp=stamp,
        time=f"{host.seconds:.3f}",
        tests=str(len(host.controls) + incomplete),
        failures=str(host.count(Outcome.FAILED)),
        errors=str(host.count(Outcome.ERROR) + incomplete),
        skipped=str(host.count(Outcome.NOT_APPLICABLE)),
    )
    facts = [("image", host.image)] if host.image else []
    _properties(suite, [*facts, *(("role without checks", role) for role in host.unchecked_roles)])
    for result in host.controls:
        suite.append(_case(result))
    if incomplete:
        case = ET.SubElement(suite, "testcase", classname="host", name=host.outcome.value, time="0")
        ET.SubElement(case, "error", message=_first_line(host.reason)).text = printable(host.reason)
    return suite


def _case(result: ControlResult) -> ET.Element:
    case = ET.Element("testcase", classname=result.role, name=result.id, time=f"{result.seconds:.3f}")
    _properties(case, [("title", result.title), *(("reference", ref) for ref in result.refs)])
    kind = {Outcome.FAILED: "failure", Outcome.ERROR: "error", Outcome.NOT_APPLICABLE: "skipped"}.get(result.outcome)
    if kind:
        ET.SubElement(case, kind, message=_first_line(result.message)).text = printable(result.message)
    return case


def _properties(parent: ET.Element, pairs: list[tuple[str, str]]) -> None:
    if not pairs:
        return
    properties = ET.SubElement(parent, "properties")
    for name, value in pairs:
        ET.SubElement(properties, "property", name=name, value=printable(value))


def _first_line(text: str) -> str:
    return printable(text.partition("\n")[0])
