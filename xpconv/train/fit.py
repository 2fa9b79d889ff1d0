"""`fit`: training, epoch by epoch."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ..arguments import to_size
from ..layers.layer import Layer
from ..layers.replay import replaying
from ..optim import ExponentialMovingAverage, GradScaler, LRScheduler, Optimizer
from ..signatures import hinted
from .callbacks import EarlyStopping
from .checkpoint import Checkpoint, load_run
from .checks import checked_run
from .history import History
from .loop import Loop
from .progress import Progress
from .run import INTERRUPTED, Run, modes_restored
from .timetable import Timetable
from .together import communicator_of, together

__all__ = ["fit"]

VALID = "give valid=xpconv.data.batches(x, y, 500)"
OF_BATCHES = "it is an argument of xpconv.data.batches, which train is made by"
ELSEWHERE = {  # arguments of other libraries' functions of this kind, and what to use here instead
    **dict.fromkeys(("validation_data", "valid_data", "val_data", "val", "eval_set"), VALID),
    **dict.fromkeys(("batch_size", "shuffle", "workers", "transform", "seed", "drop_last"), OF_BATCHES),
    **dict.fromkeys(("x", "y", "X", "data"), "give train=xpconv.data.batches(x, y, 64)"),
    **dict.fromkeys(("lr", "learning_rate"), "it is an argument of the optimizer, such as xpconv.Adam"),
    **dict.fromkeys(("scheduler", "lr_scheduler"), "give schedule="),
    **dict.fromkeys(("max_epochs", "num_epochs", "n_epochs"), "give epochs="),
    **dict.fromkeys(("criterion", "loss_fn"), "give loss="),
    **dict.fromkeys(("gradient_clip_val", "max_grad_norm", "clip"), "give clip_grad_norm="),
    **dict.fromkeys(
        ("early_stopping", "patience"), "give callbacks=[xpconv.train.EarlyStopping(patience=3)]"
    ),
    "validation_split": "give valid=; xpconv.data.train_test_split splits arrays",
    "class_weight": "it is an argument of the loss, weight=",
    **dict.fromkeys(
        ("gradient_accumulation_steps", "accumulation_steps", "accumulate_grad_batches", "accum_steps"),
        "give accumulate=",
    ),
    "initial_epoch": "give resume=, the folder of a Checkpoint",
    "*": "train and valid are batches, xpconv.data.batches(x, y, 64); give the arguments after them by name",
    "device": "use model.to('cupy')",
}


@hinted("fit", ELSEWHERE)
def fit(
    model: Layer,
    loss: Any,
    optimizer: Optimizer,
    train: Iterable[Any],
    valid: Iterable[Any] | None = None,
    *,
    epochs: int = 1,
    metrics: Any = (),
    inputs: int = 1,
    sample_weight: bool = False,
    schedule: LRScheduler | None = None,
    schedule_per: str | None = None,
    monitor: str | None = None,
    accumulate: int = 1,
    clip_grad_norm: float | None = None,
    scaler: GradScaler | None = None,
    ema: ExponentialMovingAverage | None = None,
    callbacks: Sequence[Any] = (),
    resume: str | os.PathLike[str] | None = None,
    verbose: bool | None = None,
) -> History:
    """Train a model: the loop of the README, with metrics, validation, callbacks and resumption.

    For each batch of `train`: forward, loss, `zero_grad`, backward and `optimizer.step()`, in training mode
    (layers frozen by `requires_grad_(False, eval=True)` stay in inference mode). After each epoch, loss and
    metrics of `valid` in inference mode. At the end each layer has the mode that it had before. The results
    are those of the plain loop, bit for bit on NumPy.

    Losses and metrics add up on the device, and are read once for each report. They are those over all
    samples, whatever the sizes of the batches, and for `train` of the model as it was at each batch. With
    `reduction='sum'` the loss in the history is that per sample.

    On a GPU, a step whose shapes repeat is recorded as a CUDA graph (`xpconv.cuda.capture`), with the same
    results; a warning says why if it cannot be. Other Python code in layers, losses and metrics of your own,
    such as a counter, runs only in the recording. Arrays on the host are copied to the model's device, those
    of `xpconv.data.batches` during the step before.

    In several processes (`mpiexec -n 4 python3 train.py`, see `xpconv.distributed`), each takes its part of
    every batch, and the results are those of one process but for rounding and dropout: all processes have
    the same model, losses and history. They need the same data and arguments. Callbacks that write files, and
    what is printed, belong to the first; others are called in all. After a resumption dropout draws other
    masks.

    Ctrl-C ends training after the present batch, and `fit` returns what has been reached
    (`history.interrupted`); a second Ctrl-C raises KeyboardInterrupt at once.

    Args:
        model: the model. Lazy layers need one forward before the optimizer is made.
        loss: a loss with `reduction` `'mean'` or `'sum'`; it gets the output and all targets. One of your own
            is called with them, and has `backward(factor=1.0)`, the gradient of its mean.
        optimizer: of parameters of the model.
        train, valid: iterate over batches, tuples of arrays: `(x, y)`, and begin again for each epoch, such
            as `xpconv.data.batches(x, y, 64, shuffle=True)` or a list of tuples.
        epochs: the number of epochs, on resumption including those before.
        metrics: names (`"accuracy"`, `"top5_accuracy"`, `"mean_absolute_error"`, `"mean_squared_error"`,
            `"iou"`), `Metric`s, and functions `f(output, target)` that return a mean or a number for each
            sample. They are not weighted.
        inputs: how many of a batch's arrays are inputs of the model. Those after them are targets.
        sample_weight: whether the last array of a batch has a factor for the loss of each sample, in `valid`
            too. The divisor of the mean stays that without weights.
        schedule: a schedule of the learning rate.
        schedule_per: whether it makes a step after each `'epoch'` or each `'step'` of the optimizer; None
            takes `'step'` for `OneCycleLR`, else `'epoch'`.
        monitor: the value for `ReduceLROnPlateau`; None takes `valid_loss`, without validation `loss`.
        accumulate: the number of batches for one step. The gradient is that of the mean over all their
            samples, as of one large batch, also of fewer batches at the end of an epoch.
        clip_grad_norm: the largest norm of the gradients. The mean norm before clipping is `grad_norm` in the
            history; `math.inf` clips nothing.
        scaler: for float16.
        ema: averages of the model's parameters, updated after each step. Validation uses the averages; at the
            end the model has its own parameters, and `with ema.average_parameters():` the averages.
        callbacks: objects with any of the methods `on_fit_begin(run)`, `on_epoch_begin(run)`,
            `on_batch_begin(run)` and `on_batch_end(run)` (around each step), `on_epoch_end(run)`,
            `on_interrupt(run)` (Ctrl-C or `run.stop` ended training within an epoch), `on_fit_end(run)`, and
            in its place `on_exception(run, error)` if there is an error; see `Run`.
        resume: a file that `Checkpoint` wrote, or its folder, to continue from the latest. If the folder is
            that of a `Checkpoint` in `callbacks` and has no file yet, a new run begins, so that the same
            command begins a run and continues it. Everything else must be as in the run that wrote the
            file, with these exceptions: `epochs` may be larger, but not smaller than the epoch that it has
            reached. If `schedule` has other settings, such as `total_steps`, or functions with other values,
            it is set to where it would be after as many steps; a class with a `step` of its own uses
            the settings in the file. Callbacks may be added and left out, and at the end of an epoch
            `accumulate`, metrics and clipping may differ too. The settings of the optimizer, also the initial
            learning rate of a schedule, are those in the file.
        verbose: True prints a table, with `*` at the best values so far, and on a terminal or in a notebook a
            progress bar; False prints nothing; None is True on a terminal or in a notebook, else False.

    Returns:
        a `History`.

    Raises:
        TypeError, ValueError: an argument is wrong; nothing has changed then, except for a batch that does
            not fit the model or the loss.
        FileNotFoundError: there is nothing at `resume`.

    Example:
        >>> import xpconv
        >>> from xpconv import train
        >>> digits = xpconv.data.load_digits()
        >>> model = xpconv.Sequential(xpconv.Flatten(), xpconv.Dense(64, 10, rng=0))
        >>> optimizer = xpconv.Adam(model.parameters(), lr=0.01)
        >>> batches = xpconv.data.batches(digits.x_train, digits.y_train, 64, shuffle=True, seed=0)
        >>> test = xpconv.data.batches(digits.x_test, digits.y_test, 500)
        >>> loss = xpconv.SoftmaxCrossEntropyLoss()
        >>> history = train.fit(model, loss, optimizer, batches, test, epochs=5, metrics=["accuracy"])
        >>> history["valid_accuracy"][-1] > 0.9
        True
    """
    where = "fit"
    run = checked_run(
        where, model, loss, optimizer, train=train, valid=valid, epochs=epochs, metrics=metrics,
        inputs=inputs, sample_weight=sample_weight, schedule=schedule, clip_grad_norm=clip_grad_norm,
        scaler=scaler, ema=ema, callbacks=callbacks,
    )  # fmt: skip
    run.communicator = communicator_of(optimizer)
    group = to_size(f"{where}: accumulate", accumulate)
    run.timetable = Timetable(where, schedule, schedule_per, monitor, run, group, resume is not None)
    progress = Progress(where, verbose if run.is_first else False)
    for callback in run.callbacks:
        if isinstance(callback, EarlyStopping | Checkpoint):
            callback.check(run)
    if resume is not None:
        progress.say(load_run(where, resume, run))
    with modes_restored(model), together(run), replaying(model), progress, _ctrl_c(run), run.closing():
        loop = Loop(run, group, run.timetable, progress)
        try:
            run.call("on_fit_begin")
            loop.run_epochs()
        except KeyboardInterrupt:
            if run.interrupted:  # the second one
                raise
            run.interrupted, run.whole, run.stop = True, False, INTERRUPTED
            loop.end_partial()
        finally:
            model.forget()
            getattr(loss, "forget", lambda: None)()
        run.history.stopped, run.history.interrupted = run.stop, run.stop == INTERRUPTED
        run.call("on_fit_end")
        progress.end(run)
    return run.history


@contextmanager
def _ctrl_c(run: Run) -> Iterator[None]:
    """Within this block the first Ctrl-C sets `run.interrupted`, and a second one raises KeyboardInterrupt.

    It does nothing outside the main thread, or if Ctrl-C has another handler than Python's own.
    """
    usual = signal.default_int_handler
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGINT) is not usual
    ):
        yield
        return

    def handle(number: int, frame: Any) -> None:
        if run.interrupted:
            usual(number, frame)
        run.interrupted = True

    signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
