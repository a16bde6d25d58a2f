"""The producer: the C client with the properties of shardlift's `flush = "record"`, and the story's two ways to flush it."""

from __future__ import annotations

from collections.abc import Callable

from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition

# What shardlift sets for its workers, but for limits of size that one record in flight never meets.
PROPERTIES: dict[str, object] = {
    "acks": "all",
    "enable.idempotence": True,
    "linger.ms": 0,
    "message.timeout.ms": 0,
    "reconnect.backoff.ms": 20,
    "reconnect.backoff.max.ms": 1000,
    "allow.auto.create.topics": False,
    "enable.metrics.push": False,
    "log.connection.close": False,
}

Delivered = Callable[[Message], None]
YIELD_S = 0.001


def create(brokers: str, topic: str) -> Producer:
    """A producer that has delivered a record: what follows needs no connection, no metadata and no producer id."""
    producer = Producer({**PROPERTIES, "bootstrap.servers": brokers})
    producer.list_topics(topic, timeout=10)  # else the first record waits half a second for the producer id's timer
    delivered: list[Message] = []
    send(producer, topic, 0, delivered.append)
    if producer.flush(10) or len(delivered) != 1:
        raise RuntimeError("the warm-up record was not delivered within 10 s")
    return producer


def send(producer: Producer, topic: str, number: int, delivered: Delivered) -> None:
    """Hands one record over. A refused one is the end: the story has no errors."""

    def report(error: KafkaError | None, message: Message) -> None:
        if error is not None:
            raise RuntimeError(f"a record was not delivered: {error}")
        delivered(message)

    key = f"customer-{number * 2654435761 % 10_000:05}"
    value = f'{{"order_id":{number},"customer_id":"{key}","amount":{number % 977}.50,"note":"{"x" * 60}"}}'
    producer.produce(topic, value=value, key=key, on_delivery=report)


def flush_blocking(producer: Producer) -> None:
    """The C call: it returns when the producer's queue is empty, and nothing else runs on this thread until then."""
    if producer.flush():
        raise RuntimeError("flush returned with records in the queue")


def flush_cooperative(sleep: Callable[[float], None]) -> Callable[[Producer], None]:
    """The published fix: look without waiting, then let the others run for a millisecond, until the queue is empty."""

    def flush(producer: Producer) -> None:
        producer.poll(0)
        while len(producer):
            sleep(YIELD_S)
            producer.poll(0)

    return flush


def records_in(brokers: str, topic: str) -> int:
    """How many records the topic ever took: the sum of its partitions' ends."""
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": "story"})
    try:
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        return sum(consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=10)[1] for p in partitions)
    finally:
        consumer.close()
