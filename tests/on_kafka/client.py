"""A data team's client, of ordinary libraries only: defines a job, fires it by events, reads its results.

usage: client.py BOOTSTRAP JOBS_TOPIC EVENT_TOPIC RUNS_TOPIC RUN_SCHEMA
"""

import io
import json
import sys
import time

from confluent_kafka import Consumer, Producer
from fastavro import schemaless_reader
from fastavro.schema import load_schema

bootstrap, jobs, events, runs, schema_file = sys.argv[1:]
schema = load_schema(schema_file)
producer = Producer({"bootstrap.servers": bootstrap, "acks": "all"})
consumer = Consumer({
    "bootstrap.servers": bootstrap,
    "group.id": "a-data-team",
    "auto.offset.reset": "earliest",
    "isolation.level": "read_committed",
})
consumer.subscribe([runs])


def read_run(value):
    # Avro's single-object encoding: two bytes, a fingerprint of eight, the record.
    assert value[:2] == b"\xc3\x01", value[:10]
    return schemaless_reader(io.BytesIO(value[10:]), schema, None)


job = {"name": "python/hello", "command": ["true"], "triggers": [{"event": events, "from": "earliest"}], "concurrency": "allow"}
producer.produce(jobs, key=job["name"], value=json.dumps(job))
for n in range(5):
    producer.produce(events, key=str(n), value=json.dumps({"n": n}))
producer.flush()

ended = {}
deadline = time.monotonic() + 100
while len(ended) < 5 and time.monotonic() < deadline:
    message = consumer.poll(1)
    if message is None or message.error() or message.value() is None:
        continue
    run = read_run(message.value())
    if run["job"] == job["name"] and run["ended_at"] is not None:
        assert message.key().decode() == run["run"]
        ended[run["cause"]] = run["state"]
consumer.close()
assert len(ended) == 5 and set(ended.values()) == {"succeeded"}, ended
print(json.dumps(ended))
