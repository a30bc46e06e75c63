"""Stands for a thermometer: publishes an hour of readings, one a second of its own time. Needs paho-mqtt.

python sensor.py 127.0.0.1 1883 --seed 1 --odd 2
"""

from __future__ import annotations

import argparse
import json
import random
import time

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

STEPS = 3600


def main() -> None:
    parser = argparse.ArgumentParser(description="publish an hour of temperatures")
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=STEPS, help="seconds (default: 3600)")
    parser.add_argument("--odd", type=int, default=0, help="how many readings are far off")
    asked = parser.parse_args()
    drawn = random.Random(asked.seed)
    odd = set(drawn.sample(range(asked.steps), asked.odd))
    begin = time.time() // 60 * 60 - asked.steps
    client = Client(CallbackAPIVersion.VERSION2)
    client.connect(asked.host, asked.port)
    client.loop_start()
    for step in range(asked.steps):
        celsius = 60.0 if step in odd else drawn.gauss(21.0, 0.5)
        reading = {"id": f"{asked.seed}-{step}", "time": begin + step, "celsius": round(celsius, 2)}
        client.publish("plant/boiler/readings", json.dumps(reading), qos=1).wait_for_publish(60)
    client.disconnect()
    client.loop_stop()


if __name__ == "__main__":
    main()
