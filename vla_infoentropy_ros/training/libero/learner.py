# SPDX-License-Identifier: Apache-2.0
"""A policy in training, asked by many simulators at once.

``python -m vla_infoentropy_ros.training.libero.learner OUT``: whoever waits is answered together,
densely and without a cache, by the newest weights that training has written to OUT.
"""

from __future__ import annotations

import argparse
import queue
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch
from numpy.typing import NDArray

from vla_infoentropy_ros.driving.images import Picture
from vla_infoentropy_ros.foreign.text import UserError, one_line
from vla_infoentropy_ros.models.action_statistics import DOF
from vla_infoentropy_ros.models.embedded import EmbeddedPolicy
from vla_infoentropy_ros.models.embedded.policy import normalise_pixels
from vla_infoentropy_ros.models.environment import parse_device
from vla_infoentropy_ros.serve.access import Access
from vla_infoentropy_ros.serve.actions import ActionForm
from vla_infoentropy_ros.serve.metrics import Metrics
from vla_infoentropy_ros.serve.service import Answer, Client, Service
from vla_infoentropy_ros.serve.vla_eval import VlaEvalServer

MOST_AT_ONCE = 32
GATHER_S = 0.003  # that those who ask a little later come along
FRESH_S = 2.0  # between looks for new weights


@torch.no_grad()
def act_together(policy: EmbeddedPolicy, images: torch.Tensor,
                 prompts: Sequence[torch.Tensor]) -> torch.Tensor:
    """Greedy action tokens (B, 7) for pictures (B, H, W, 3) uint8 and prompts of any length.

    Shorter prompts are padded behind their actions, where nothing that counts looks.
    """
    decoder = policy.decoder
    device, count = decoder.device, len(prompts)
    lengths = torch.tensor([len(ids) for ids in prompts], device=device)
    padded = torch.nn.utils.rnn.pad_sequence(list(prompts), batch_first=True).to(device)
    text = torch.nn.functional.pad(padded, (0, DOF))
    visual = policy.network.embed_vision(normalise_pixels(images.to(device)))
    embed = decoder.get_input_embeddings()
    bos = torch.full((count, 1), policy.bos_token_id, device=device)
    row = torch.arange(count, device=device)
    for number in range(DOF):
        shown = text[:, : padded.shape[1] + number]
        inputs = torch.cat([embed(bos), visual, embed(shown)], dim=1)
        hidden = decoder.model(inputs_embeds=inputs, use_cache=False).last_hidden_state
        last = hidden[row, visual.shape[1] + lengths + number]
        text[row, lengths + number] = decoder.lm_head(last).argmax(-1)
    return text.gather(1, lengths[:, None] + torch.arange(DOF, device=device))


@dataclass(frozen=True)
class _Question:
    image: torch.Tensor  # (1, H, W, 3)
    prompt: torch.Tensor
    answer: Future[NDArray[np.float64]]


class Learner(Service):
    """The weights in ``folder``, read anew when they change."""

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        self._folder, self._device = folder, parse_device(device)
        self._waiting: queue.Queue[_Question] = queue.Queue()
        self._read = self._looked = 0.0
        self._refresh()
        form = ActionForm("osc_pose", self._learner.convention)
        super().__init__(self._learner, _no_session, form, Metrics(), MOST_AT_ONCE)

    def open(self) -> Client:
        """A new client; they are not counted."""
        return _Asker(self)

    def ask(self, pictures: Sequence[Picture], instruction: str) -> Answer:
        """Wait for one's turn. Raises UserError, as whatever went wrong for those answered
        together."""
        begun = time.perf_counter()
        vision = self._learner.preprocess([picture.rgb() for picture in pictures])
        prompt = self._learner.tokenize(instruction).token_ids
        question = _Question(vision.image, prompt, Future())
        self._waiting.put(question)
        values = question.answer.result(timeout=60.0)
        return Answer(values, self.policy.grid[0] * self.policy.grid[1],
                      1e3 * (time.perf_counter() - begun), 0)

    def answer_forever(self) -> None:
        """Answer, all who wait at once, by one thread."""
        while True:
            questions = [self._waiting.get()]
            time.sleep(GATHER_S)
            while len(questions) < MOST_AT_ONCE and not self._waiting.empty():
                questions.append(self._waiting.get())
            try:
                self._answer(questions)
            except (UserError, RuntimeError) as error:
                for question in questions:
                    question.answer.set_exception(error)

    def _answer(self, questions: Sequence[_Question]) -> None:
        if time.monotonic() - self._looked > FRESH_S:
            self._refresh()
        images = torch.cat([question.image for question in questions])
        ids = act_together(self._learner, images, [question.prompt for question in questions])
        for question, row in zip(questions, ids.tolist(), strict=True):
            question.answer.set_result(self.form.write(self._learner.nearest_action(row)))

    def _refresh(self) -> None:
        self._looked = time.monotonic()
        written = (self._folder / "policy.safetensors").stat().st_mtime
        if written != self._read:
            self._learner = EmbeddedPolicy.load(self._folder)
            self._learner.network.to(self._device)
            self._read = written


class _Asker(Client):
    """A client without a session: the learner remembers nothing between steps."""

    def __init__(self, learner: Learner) -> None:
        self._learner, self._open = learner, False

    def begin(self) -> None:
        """A new episode."""
        self._learner.metrics.episodes.inc()

    def act(self, pictures: Sequence[Picture], instruction: str,
            stamp_ns: int | None = None, state: NDArray[np.float64] | None = None) -> Answer:
        """The newest policy's answer; what is trained here takes no state."""
        return self._learner.ask(pictures, instruction)


def _no_session() -> NoReturn:
    raise NotImplementedError("a learner has no sessions")


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until interrupted; 0, or 1 with one sentence."""
    parser = argparse.ArgumentParser(prog="python -m vla_infoentropy_ros.training.libero.learner",
                                     description=__doc__)
    parser.add_argument("out", type=Path, help="folder that training writes to")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--port", type=int, default=8000, help="on 127.0.0.1 (%(default)s)")
    options = parser.parse_args(argv)
    try:
        learner = Learner(options.out, options.device)
        server = VlaEvalServer(learner, Access("127.0.0.1"), options.port)
    except (UserError, OSError) as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 1
    threading.Thread(target=learner.answer_forever, daemon=True).start()
    print(f"learner on port {server.port}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
