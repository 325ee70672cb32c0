// Starts the page and shows the view that the address names: the library, or the stage of a song.

import { json, patch, request } from "/static/api.js";
import { openEditor } from "/static/editor.js";
import { showLibrary } from "/static/library.js";
import { closeStage, openStage, showTranscript } from "/static/stage.js";

async function load(address) {
  const bytes = async (name) => (await request(`${address}/results/${name}`)).arrayBuffer();
  const [job, transcript, vocals, accompaniment] = await Promise.all([
    json(address), json(`${address}/results/transcript.json`), bytes("vocals.flac"), bytes("accompaniment.flac"),
  ]);
  return { title: job.name, transcript, stems: { vocals, accompaniment }, offset: job.offset_seconds };
}

function route() {
  const id = /^#song=([0-9a-f]{16})$/.exec(location.hash)?.[1];
  document.getElementById("library").hidden = Boolean(id);
  document.getElementById("stage").hidden = !id;
  closeStage();
  if (!id) return;
  const address = `/v1/jobs/${id}`;
  openStage({
    load: () => load(address),
    onOffset: (seconds) => patch(address, { offset_seconds: seconds }),
    onEdit: (player, transcript) => openEditor(id, player, transcript, showTranscript),
  });
}

addEventListener("hashchange", route);
showLibrary();
route();
