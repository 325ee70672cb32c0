// A shared song: the stage in one file, with the times and both stems inside.

import { openStage } from "/static/stage.js";

const song = JSON.parse(document.getElementById("song").textContent);

function bytes(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0)).buffer;
}

document.getElementById("back").hidden = true;
openStage({
  load: async () => ({
    ...song, stems: { vocals: bytes(song.stems.vocals), accompaniment: bytes(song.stems.accompaniment) },
  }),
  onOffset: () => {},
});
