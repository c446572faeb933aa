"""A phone as the caller: SIP and RTP to livekit-sip, which bridges the call into a room of livekit-server.

    phone --SIP, PCMU--> livekit-sip --WebRTC, Opus--> livekit-server <--WebRTC-- agents/livekit_agent.py

Everything on 127.0.0.1, but for the sockets of livekit-sip that carry RTP: it opens them on all interfaces and has no
setting for it. What the agent tells comes by a hidden participant of the room, for a phone line carries no data.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from livekit import api, rtc

from agent_tts.livekit import EVENTS_TOPIC
from agents.demo.processes import ROOT, accepts_connections, free_port, running
from agents.demo_livekit.server import AGENT_NAME, MissingServerError, RoomAccess, agent_in_rooms, find_server
from evals.live.hearing import Hearing
from evals.live.line import CannotCallError, Setting
from evals.live.room import agent_changes
from evals.phone.phone import Phone, phone_call
from evals.phone.sip import CallRefusedError

NUMBER = "+15550100"
ROOM = "live"
PROGRAMS = {
    "livekit-sip": (
        "LIVEKIT_SIP",
        "Put the program of https://github.com/livekit/sip on PATH (its image livekit/sip holds it), or name it in "
        "LIVEKIT_SIP.",
    ),
    "redis-server": ("REDIS_SERVER", "Debian: apt-get install redis-server; or name the program in REDIS_SERVER."),
}
CONFIG = """
api_key: {key}
api_secret: "{secret}"
ws_url: {url}
redis: {{address: "{redis}"}}
sip_port: {port}
listen_ip: 127.0.0.1
nat_1_to_1_ip: 127.0.0.1
rtp_port: {rtp_port}-{rtp_end}
logging: {{level: info}}
"""
RTP_PORTS = 100


@asynccontextmanager
async def open_line(setting: Setting) -> AsyncIterator[Phone]:
    """The phone in a call with the agent."""
    find_programs()
    setting.narrate("starting Redis, the server, livekit-sip, the engine and the worker")
    async with (
        redis_server(setting.folder) as redis,
        agent_in_rooms(setting.folder, agent_changes(setting), redis=redis) as access,
        sip_bridge(setting.folder, access, redis) as peer,
    ):
        await answer_calls(access)
        setting.narrate("calling")
        try:
            async with phone_call(peer, NUMBER) as phone, told_in_room(access, phone.hearing):
                yield phone
                if phone.media.stumbles:
                    setting.narrate(f"the phone itself sent {phone.media.stumbles} packets late")
        except CallRefusedError as error:
            raise CannotCallError(f"{error}; --logs FOLDER keeps livekit-sip.log") from error


def find_programs() -> dict[str, Path]:
    """livekit-server, livekit-sip and redis-server. CannotCallError says which are missing, and how to get them."""
    found: dict[str, Path] = {}
    missing = []
    try:
        found["livekit-server"] = find_server()
    except MissingServerError as error:
        missing.append(str(error))
    for name, (variable, how_to_get) in PROGRAMS.items():
        named = os.environ.get(variable) or shutil.which(name)
        paths = (Path(named) if named else None, ROOT / ".cache" / "bin" / name)
        path = next((path for path in paths if path is not None and path.exists()), None)
        if path is None:
            missing.append(f"No {name} found. {how_to_get}")
        else:
            found[name] = path
    if missing:
        raise CannotCallError("\n".join(missing))
    return found


@asynccontextmanager
async def redis_server(folder: Path) -> AsyncIterator[str]:
    """A Redis that keeps nothing; yields its address. It carries messages between livekit-server and livekit-sip."""
    port = free_port()
    command = [str(find_programs()["redis-server"]), "--bind", "127.0.0.1", "--port", str(port)]
    log = folder / "redis.log"
    async with running([*command, "--save", "", "--appendonly", "no"], log) as process:
        await accepts_connections(port, process, log)
        yield f"127.0.0.1:{port}"


@asynccontextmanager
async def sip_bridge(folder: Path, access: RoomAccess, redis: str) -> AsyncIterator[tuple[str, int]]:
    """livekit-sip for the rooms at `access`; yields where it takes calls."""
    port, rtp_port = free_port(), min(free_port(socket.SOCK_DGRAM), 65_535 - RTP_PORTS)
    config = folder / "livekit-sip.yaml"
    config.write_text(
        CONFIG.format(
            key=access.api_key,
            secret=access.api_secret,
            url=access.url,
            redis=redis,
            port=port,
            rtp_port=rtp_port,
            rtp_end=rtp_port + RTP_PORTS,
        )
    )
    command = [str(find_programs()["livekit-sip"]), "--config", str(config)]
    log = folder / "livekit-sip.log"
    async with running(command, log) as process:
        await accepts_connections(port, process, log)  # it takes SIP over TCP at the same port
        yield "127.0.0.1", port


async def answer_calls(access: RoomAccess) -> None:
    """Calls to NUMBER from this machine go to ROOM, and the agent with them."""
    async with api.LiveKitAPI(access.url, access.api_key, access.api_secret) as server:
        trunk = api.SIPInboundTrunkInfo(name="phone", numbers=[NUMBER], allowed_addresses=["127.0.0.0/8"])
        made = await server.sip.create_inbound_trunk(api.CreateSIPInboundTrunkRequest(trunk=trunk))
        rule = api.SIPDispatchRuleInfo(
            trunk_ids=[made.sip_trunk_id],
            rule=api.SIPDispatchRule(dispatch_rule_direct=api.SIPDispatchRuleDirect(room_name=ROOM)),
            room_config=api.RoomConfiguration(agents=[api.RoomAgentDispatch(agent_name=AGENT_NAME)]),
        )
        await server.sip.create_dispatch_rule(api.CreateSIPDispatchRuleRequest(dispatch_rule=rule))


@asynccontextmanager
async def told_in_room(access: RoomAccess, hearing: Hearing) -> AsyncIterator[None]:
    """Keep what the agent tells. The participant that listens is hidden, so that the phone stays the agent's caller."""
    room = rtc.Room()

    def told(packet: rtc.DataPacket) -> None:
        if packet.topic == EVENTS_TOPIC:
            hearing.add_told(json.loads(packet.data))

    room.on("data_received", told)
    grants = api.VideoGrants(room_join=True, room=ROOM, hidden=True, can_publish=False)
    token = api.AccessToken(access.api_key, access.api_secret).with_identity("listener").with_grants(grants)
    options = rtc.RoomOptions(auto_subscribe=False, rtc_config=rtc.RtcConfiguration(ice_servers=[]))
    async with asyncio.timeout(30.0):
        await room.connect(access.url, token.with_ttl(timedelta(hours=1)).to_jwt(), options=options)
    try:
        yield
    finally:
        await room.disconnect()
