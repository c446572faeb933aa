// The WebRTC half of a call to the Pipecat agent: offers `track`, gives back the agent's. Knows no sound and no page.

// heard(track, stats) and told(message) are called as they come; state(name) on changes. Resolves to what hangs up.
export async function dialAgent(track, { heard, told, state }) {
  const peer = new RTCPeerConnection({ iceServers: [] });
  peer.addTransceiver(track, { direction: "sendrecv" });
  peer.ontrack = ({ track, receiver }) => track.kind === "audio" && heard(track, () => receiver.getStats());
  peer.onconnectionstatechange = () => state(peer.connectionState);
  const channel = peer.createDataChannel("messages", { ordered: true });
  let pinging = null;
  channel.onmessage = ({ data }) => data.startsWith("{") && told(JSON.parse(data));
  channel.onopen = () => (pinging = setInterval(() => channel.readyState === "open" && channel.send("ping"), 1000));

  await peer.setLocalDescription(await peer.createOffer());
  await new Promise((done) => {
    const complete = () => peer.iceGatheringState === "complete" && done();
    peer.onicegatheringstatechange = complete;
    complete();
  });
  const { sdp, type } = peer.localDescription;
  const reply = await fetch("api/offer", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ sdp, type }),
  });
  if (!reply.ok) throw new Error(`the agent refused the call: ${reply.status}`);
  await peer.setRemoteDescription(await reply.json());
  return () => {
    clearInterval(pinging);
    peer.close();
  };
}
