"""`agent-tts serve`: its arguments and what they start. Knows no message."""

from __future__ import annotations

import argparse
import asyncio
import logging

from agent_tts.config import EngineConfig, from_mapping, load_yaml
from agent_tts.engine import Engine
from agent_tts.errors import ConfigError
from agent_tts.remote.address import Address, parse_address, unix_address
from agent_tts.server.listening import require_private
from agent_tts.server.process import serve

_OVERRIDES = ("model", "device", "dtype", "max_slots", "max_waiting", "lead_ms", "num_threads", "accept_license")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `agent-tts serve`."""
    parser.add_argument("--socket", action="append", default=[], metavar="PATH", help="listen on a unix socket")
    parser.add_argument("--tcp", action="append", default=[], metavar="HOST:PORT", help="listen on TCP, loopback only")
    parser.add_argument("--trust-network", action="store_true", help="let --tcp be another than a loopback address")
    parser.add_argument("--with-parent", action="store_true", help="end when standard input ends")
    parser.add_argument("--config", metavar="FILE", help="engine config, e.g. configs/bundled.yaml")
    parser.add_argument("--model", help="bundled, a checkpoint folder, or a hub id")
    parser.add_argument("--device", help="cpu, cuda, cuda:1")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"))
    parser.add_argument("--max-slots", type=int, metavar="N", help="utterances that are computed at once")
    parser.add_argument("--max-waiting", type=int, metavar="N", help="utterances that may be open in all")
    parser.add_argument("--lead-ms", type=float, metavar="MS", help="how far ahead of playout it may work")
    parser.add_argument("--threads", type=int, metavar="N", dest="num_threads", help="compute threads of the engine")
    parser.add_argument("--accept-license", metavar="NAME", help="accept the licence of weights that ask for it")


def run(options: argparse.Namespace) -> int:
    """Serve until told to stop; the exit code. Raises AgentTTSError when it cannot."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    addresses = read_addresses(options.socket, options.tcp)
    for address in addresses if not options.trust_network else ():
        require_private(address)  # before minutes are spent on loading
    config = read_config(options)
    serving = serve(
        lambda: Engine.load(config=config),
        addresses,
        trust_network=options.trust_network,
        with_parent=options.with_parent,
    )
    asyncio.run(serving)
    return 0


def read_addresses(sockets: list[str], tcp: list[str]) -> list[Address]:
    """Where to listen. Raises ConfigError when that is nowhere."""
    addresses = [unix_address(path) for path in sockets] + [parse_address(f"tcp://{place}") for place in tcp]
    if not addresses:
        raise ConfigError("nowhere to listen; give --socket /run/agent-tts.sock or --tcp 127.0.0.1:7788.")
    return addresses


def read_config(options: argparse.Namespace) -> EngineConfig:
    """The config file, if there is one, then what the command line says."""
    values = load_yaml(options.config) if options.config else {}
    values |= {name: value for name in _OVERRIDES if (value := getattr(options, name)) is not None}
    return from_mapping(EngineConfig, values, where=options.config or "command line")
