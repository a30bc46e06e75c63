"""A module of Azure IoT Edge: reads a thermometer and sends each reading through the edge hub, over MQTT.

The connection comes from the environment: the one that IoT Edge's runtime gives its modules, or, without a runtime,
`EdgeHubConnectionString` and `EdgeModuleCACertificateFile`. `READINGS` says how many are sent (0: without end), `PERIOD` how many
seconds lie between two.
"""

import asyncio
import json
import os
import random
import sys

from azure.iot.device import Message
from azure.iot.device.aio import IoTHubModuleClient


class Thermometer:
    """Stands for a sensor: a slow random walk around 20 °C."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._celsius = 20.0

    def read(self) -> float:
        self._celsius += self._random.gauss(0, 0.3) + (20.0 - self._celsius) * 0.05
        return round(self._celsius, 2)


def as_message(number: int, celsius: float) -> Message:
    message = Message(json.dumps({"number": number, "celsius": celsius}))
    message.content_encoding = "utf-8"
    message.content_type = "application/json"
    message.custom_properties["alert"] = "true" if celsius > 25 else "false"
    return message


async def send_readings(client: IoTHubModuleClient, readings: int, period: float) -> None:
    thermometer = Thermometer(seed=7)
    number = 0
    while not readings or number < readings:
        number += 1
        message = as_message(number, thermometer.read())
        await client.send_message_to_output(message, "temperature")
        print(message.data, flush=True)
        if number != readings:
            await asyncio.sleep(period)


async def main() -> None:
    client = IoTHubModuleClient.create_from_edge_environment()
    await client.connect()
    print("connected", file=sys.stderr, flush=True)
    try:
        await send_readings(client, int(os.environ.get("READINGS", "0")), float(os.environ.get("PERIOD", "5")))
    finally:
        await client.shutdown()


if __name__ == "__main__":
    asyncio.run(main())
