"""A run in a fresh process of the virtual environment: what is asked comes as JSON in the first argument (nothing asks for the
packages' versions), the figures leave as JSON on stdout.

`topic_records` is how many records the topic took so far, so that the caller can count by other means than delivery reports.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version

import client
import confluent_kafka
from measure import worker_figures
from web import WebLoad, serve
from workers import Load, green, processes, single


def measure(asked: dict[str, object]) -> dict[str, object]:
    if asked.get("variant") == "web":
        return serve(WebLoad(**asked))  # type: ignore[arg-type]
    load = Load(**asked)  # type: ignore[arg-type]
    if load.variant == "processes":
        return worker_figures(processes(load))
    return worker_figures([single(load) if load.variant == "single" else green(load)])


def packages() -> dict[str, object]:
    return {
        "gevent": version("gevent"),
        "confluent_kafka": version("confluent-kafka"),
        "librdkafka": confluent_kafka.libversion()[0],
        "properties": client.PROPERTIES,
    }


def main() -> None:
    asked = json.loads(sys.argv[1])
    if not asked:
        print(json.dumps(packages()))
        return
    figures = measure(asked)
    print(json.dumps({**figures, "topic_records": client.records_in(asked["brokers"], asked["topic"])}))


if __name__ == "__main__":
    main()
