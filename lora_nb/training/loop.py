"""How a LoRA is trained. START READING HERE: from top to bottom, this file explains it.

A diffusion model removes noise from pictures. To train it, take a picture, add noise, and ask the model what noise
was added: the error of its answer says which way to move its weights. Here the model itself stays frozen; only the
small matrices beside its layers, the LoRA, are moved.
"""

from collections.abc import Iterable, Sequence
from functools import partial

import torch
from torch import Tensor

from lora_nb.adapters.dropout import set_dropout_time, without_dropout
from lora_nb.adapters.kinds import remove_adapter
from lora_nb.config import TrainConfig
from lora_nb.models.base import DiffusionModel
from lora_nb.training.acceleration import Engine, Team
from lora_nb.training.batches import Batch, Turn, count_steps, epoch_steps, make_batches
from lora_nb.training.broken_loss import check_finite
from lora_nb.training.cache import CachedImage
from lora_nb.training.caretaker import Caretaker
from lora_nb.training.conditioning import CaptionEncoder
from lora_nb.training.events import OnEvent, StepDone, ValidationDone
from lora_nb.training.learner import Learner, make_learner
from lora_nb.training.losses import loss_weight, mean_over, measure_error
from lora_nb.training.noise import draw_noise, perturb_input
from lora_nb.training.output import RunOutput
from lora_nb.training.speed import slow_down, speed_up
from lora_nb.training.validation import validation_loss


def training_loss(
    model: DiffusionModel, batch: Batch, config: TrainConfig, encode_captions: CaptionEncoder
) -> tuple[Tensor, Tensor]:
    """How wrong is the model on one batch? This function is the whole idea of diffusion training.

    Returns the loss to minimise and, beside it, the plain mean squared error, which can be compared between runs.
    """
    latents = batch.latents.to(model.device)  # (B, 4, h, w) the compressed pictures
    conditioning = encode_captions(batch.captions)  # what the text encoder makes of the captions
    conditioning = model.add_geometry(conditioning, batch.geometry)  # and, for SDXL, how large the pictures were
    noise = draw_noise(latents, config.noise, batch.generators)  # (B, 4, h, w) what will be asked for
    timesteps = model.objective.sample_timesteps(latents, config.noise, batch.generators)  # (B,) how noisy each gets
    timesteps = timesteps.to(model.device)
    mixed_in = perturb_input(noise, config.noise, batch.generators)  # the noise, or somewhat more of it
    noisy_latents = model.objective.add_noise(latents, mixed_in, timesteps)

    prediction = model.predict(noisy_latents, timesteps, conditioning)
    target = model.objective.target(latents, noise, timesteps)  # what it should have said

    error = measure_error(prediction, target, model.objective, timesteps, config.loss)  # (B, 4, h, w)
    error = mean_over(error, batch.masks)  # (B,) one number an example
    weight = loss_weight(model.objective, timesteps, config.loss, config.noise)  # (B,) how much that noise level counts
    raw_error = (prediction.detach().float() - target.float()).square()  # whatever the loss and the weights are
    return (error * weight * batch.weights.to(error)).mean(), mean_over(raw_error, batch.masks).mean()


def train(
    model: DiffusionModel,
    images: list[CachedImage],
    config: TrainConfig,
    output: RunOutput,
    on_event: OnEvent,
    held_out: Sequence[CachedImage] = (),
    team: Team | None = None,
    encode_captions: CaptionEncoder | None = None,
) -> str:
    """Train a LoRA on cached pictures and save one every few epochs. Returns "finished" or "stopped".

    held_out: pictures that are not trained on; the error on them is measured after every epoch. encode_captions: one
    that knows the run's captions already.

    Interrupting it (Ctrl-C, the notebook's stop button, or a request) ends the run and saves what was learned. The
    model comes back as it was, without the LoRA.
    """
    run, team = config.run, team or Team()
    turn = Turn(team.place, team.size, in_step=team.shards)
    learner = make_learner(model, config, team, count_steps(images, config, team.size))  # puts the LoRA on the model
    engine = learner.engine  # takes care of precision, and of the other processes
    encode_captions = encode_captions or CaptionEncoder(model, config)
    caretaker = Caretaker(learner, output)  # between two steps: checkpoints, and what the outside asks for
    speed_up(model, config)

    def validate() -> None:
        if held_out:
            on_event(ValidationDone(step, epoch, judge(model, held_out, config, encode_captions, engine)))

    step, epoch = caretaker.go_back()  # 0, 0; or to the checkpoint of a run that is continued
    first_epoch = max(epoch, 1)
    try:
        if not step:
            validate()
            keep(model, output, step, epoch)  # pictures before training: what all later ones are compared with
        for epoch in range(first_epoch, run.epochs + 1):
            for groups in epoch_steps(images, config, epoch, team.size, done=step):
                step += 1
                batches = partial(make_batches, images, groups, config, step, turn)
                losses = add_up_gradients(learner, batches(), encode_captions, step)
                loss_sum, raw_sum = team.add_up(losses).tolist()  # waits for the GPU: once a step, not once a batch
                check_finite("loss", loss_sum, step, model, config, batches)
                grad_norm, rates = learner.step()  # moves the LoRA, if the gradients are finite, too
                check_finite("length of the gradients", grad_norm, step, model, config, batches)
                rate, *_ = rates.values()
                on_event(StepDone(step, epoch, loss_sum, raw_sum, rate, grad_norm, output.watch.seconds, rates))
                caretaker.attend(step, epoch)
            with learner.final_weights():  # the LoRA as it was trained, or its average over the last steps
                validate()
                keep(model, output, step, epoch)
            caretaker.attend(step, epoch)
        return "finished"
    except KeyboardInterrupt:
        if step:
            with learner.final_weights():
                output.save_lora(model, step, epoch)
        return "stopped"
    except Exception as error:
        caretaker.save_after(error)  # if the run may go on after it
        raise
    finally:
        slow_down(model)
        remove_adapter(model)


def add_up_gradients(learner: Learner, batches: Iterable[Batch], encode_captions: CaptionEncoder, step: int) -> Tensor:
    """Go forward and backward through a step's batches. Returns their loss and their plain error: (2,)"""
    model, config, engine = learner.model, learner.config, learner.engine
    losses = torch.zeros(2, device=model.device)
    for batch in batches:
        set_dropout_time(model, step, *batch.turn)
        with engine.autocast():  # half precision where it is safe, if the settings ask for it
            loss, raw_loss = training_loss(model, batch, config, encode_captions)
        losses += torch.stack([loss.detach(), raw_loss]) * batch.share
        engine.backward(loss * batch.share)  # the gradients of several batches add up to one step
    return losses


def keep(model: DiffusionModel, output: RunOutput, step: int, epoch: int) -> None:
    """After an epoch, write the LoRA and draw the sample pictures, if it is time for them."""
    run, samples = output.config.run, output.config.samples
    if epoch and (epoch % run.save_every_n_epochs == 0 or epoch == run.epochs):
        output.save_lora(model, step, epoch)
    if samples.every_n_epochs and epoch % samples.every_n_epochs == 0:
        output.draw_samples(model, step, epoch)


def judge(
    model: DiffusionModel,
    held_out: Sequence[CachedImage],
    config: TrainConfig,
    encode_captions: CaptionEncoder,
    engine: Engine,
) -> float:
    """How wrong is the model on pictures that it is not trained on?"""

    def raw_loss(batch: Batch) -> Tensor:
        with engine.autocast(), without_dropout(model):
            return training_loss(model, batch, config, encode_captions)[1]

    return validation_loss(model, list(held_out), config, raw_loss)
