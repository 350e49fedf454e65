"""Workflows and steps as they are declared. A decorator describes and registers nothing; a DurableModule registers."""

import inspect
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, ParamSpec, TypeVar, overload

from fastapi_durable.declare.annotations import remember_names
from fastapi_durable.declare.methods import STEP, Method, make_durable, plain, step_methods
from fastapi_durable.declare.names import checked_name, checked_part, checked_workflow_name
from fastapi_durable.declare.retry import Backoff, ErrorFilter, check_error_filter, matches
from fastapi_durable.declare.signature import NO_DEFAULT, function_of, refuse_data_as_context, signature_of
from fastapi_durable.model.duration import Duration, parse_duration
from fastapi_durable.model.errors import DefinitionError
from fastapi_durable.model.text import shown

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])

UpdateValidator = Callable[..., str | Awaitable[str | None] | None]
"""Checks the value of an update. It refuses by raising, or by returning the reason."""

_WORKFLOW = "__durable_workflow__"
_DEFINITION = "__durable_definition__"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepPolicy:
    """How a step is executed.

    Attributes:
        max_attempts: Executions in all, the first one included.
        backoff: The wait between attempts.
        timeout: Limit of one attempt; None: no limit.
        retry_on: Errors that may be followed by another attempt; None: all.
        give_up_on: Errors that end the attempts, whatever `retry_on` says; None: none.
    """

    max_attempts: int = 1
    backoff: Backoff = field(default_factory=Backoff)
    timeout: timedelta | None = None
    retry_on: ErrorFilter | None = field(default=None, hash=False)
    give_up_on: ErrorFilter | None = field(default=None, hash=False)

    def __post_init__(self) -> None:
        attempts: Any = self.max_attempts
        if not isinstance(attempts, int) or attempts < 1:
            raise DefinitionError(f"max_attempts must be 1 or more, got {attempts!r}")
        if not isinstance(self.backoff, Backoff):
            raise DefinitionError(f"backoff must be made by fixed() or exponential(), got {self.backoff!r}")
        if self.retry_on is not None:
            check_error_filter("retry_on", self.retry_on)
        if self.give_up_on is not None:
            check_error_filter("give_up_on", self.give_up_on)

    def override(
        self,
        *,
        max_attempts: int | None = None,
        backoff: Backoff | None = None,
        timeout: Duration | None = None,
        retry_on: ErrorFilter | None = None,
        give_up_on: ErrorFilter | None = None,
    ) -> "StepPolicy":
        """This policy with the given fields replaced; None leaves a field as it is."""
        given = {
            "max_attempts": max_attempts,
            "backoff": backoff,
            "timeout": None if timeout is None else parse_duration(timeout),
            "retry_on": retry_on,
            "give_up_on": give_up_on,
        }
        changed: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        return replace(self, **changed) if changed else self

    def gives_up(self, error: BaseException) -> bool:
        """Whether an error ends the attempts, however many are left.

        Raises:
            Exception: what a function of `retry_on` or `give_up_on` raises.
        """
        if not issubclass(type(error), Exception):
            return False
        raised: Any = error
        if self.give_up_on is not None and matches(self.give_up_on, raised):
            return True
        return self.retry_on is not None and not matches(self.retry_on, raised)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDefinition:
    """A function that a workflow may run as a step.

    Attributes:
        input_type: Annotation of its input; `NoInput` if it takes none.
        output_type: Its return annotation.
        default: The input of a call that gives none; `NO_DEFAULT` if a call has to give one.
        blocking: Whether it is a plain `def`, to be run in a worker thread.
    """

    name: str
    function: Callable[..., Any]
    input_type: Any
    output_type: Any
    blocking: bool
    policy: StepPolicy = StepPolicy()
    default: Any = field(default=NO_DEFAULT, hash=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Singleton:
    """Limit of the runs that share a key, oldest first: `@workflow(singleton=Singleton(key=...))`.

    Attributes:
        key: Plain function from the workflow's input to the key. It is called once, when a run is created.
        limit: Number of runs of a key that may be under way in a namespace.
        max_queue_depth: Number of further runs that may wait. A start beyond it is refused. None: no limit.

    Raises:
        DefinitionError: an option is out of range.
    """

    key: Callable[[Any], object]
    limit: int = 1
    max_queue_depth: int | None = None

    def __post_init__(self) -> None:
        if not callable(self.key):
            raise DefinitionError(
                f"the key of a singleton must be a function of the workflow's input, got {self.key!r}"
            )
        if self.limit < 1:
            raise DefinitionError(f"the limit of a singleton must be 1 or more, got {self.limit}")
        if self.max_queue_depth is not None and self.max_queue_depth < 0:
            raise DefinitionError(f"max_queue_depth must be 0 or more, got {self.max_queue_depth}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Events to collect before they start one run: `@workflow(on_event=..., batch=Batch(...))`.

    Attributes:
        max_size: Number of events that starts the run at once.
        within: Longest time to wait, from the first event.

    Raises:
        DefinitionError: an option is out of range.
    """

    max_size: int
    within: Duration

    def __post_init__(self) -> None:
        if self.max_size < 1:
            raise DefinitionError(f"the max_size of a batch must be 1 or more, got {self.max_size}")
        parse_duration(self.within)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowDefinition:
    """A function `async def (ctx, input)` whose execution is durable.

    Attributes:
        search_attributes: The pydantic type that a run's attributes have to fit; None: any.
        triggers: Names of events that start a run.
        debounce, batch: How events are collected before they do.
        owner: The class whose `run` is the function; injection makes an instance for each turn.
        updates: The validators of its updates, by name.
        dead_letter: What is started when a run is dead.
        on_success, on_failure: What is started when a run has completed, or failed.
        default: The input of a run that is started without one; `NO_DEFAULT` if a start has to give one.
    """

    name: str
    version: str
    function: Callable[..., Coroutine[Any, Any, Any]]
    input_type: Any
    output_type: Any
    tags: tuple[str, ...] = ()
    execution_timeout: timedelta | None = None
    origin: str | None = None
    singleton: Singleton | None = None
    search_attributes: Any = None
    triggers: tuple[str, ...] = ()
    debounce: timedelta | None = None
    batch: Batch | None = None
    owner: type | None = None
    updates: Mapping[str, UpdateValidator] = field(default_factory=dict, hash=False)
    dead_letter: Callable[..., Any] | str | None = None
    on_success: Callable[..., Any] | str | None = None
    on_failure: Callable[..., Any] | str | None = None
    default: Any = field(default=NO_DEFAULT, hash=False, compare=False)

    @property
    def key(self) -> tuple[str, str]:
        return self.name, self.version


@overload
def step(function: F, /) -> F: ...
@overload
def step(
    *,
    name: str | None = None,
    max_attempts: int = 1,
    backoff: Backoff | None = None,
    timeout: Duration | None = None,
    retry_on: ErrorFilter | None = None,
    give_up_on: ErrorFilter | None = None,
) -> Callable[[F], F]: ...
def step(
    function: F | None = None,
    /,
    *,
    name: str | None = None,
    max_attempts: int = 1,
    backoff: Backoff | None = None,
    timeout: Duration | None = None,
    retry_on: ErrorFilter | None = None,
    give_up_on: ErrorFilter | None = None,
) -> F | Callable[[F], F]:
    """Declare a function as a step. The function itself stays callable as before.

    Args:
        function: The function, if the decorator is used without parentheses.
        name: Name to record. Default: the function's name, or `Class.method`.
        max_attempts: Maximum number of attempts, the first one included.
        backoff: Wait between attempts. Default: exponential from one second to five minutes, with jitter.
        timeout: Limit of one attempt. None: no limit.
        retry_on: Errors after which another attempt is made: an exception class, a tuple of classes, or a function
            `(Exception) -> bool`. None: all errors.
        give_up_on: Errors that end the attempts, in the same forms. It goes before `retry_on`. `FatalError` always
            ends them.

    Returns:
        The function, unchanged.

    Raises:
        DefinitionError: the signature or an option is invalid.
    """

    def declare(target: F) -> F:
        policy = StepPolicy().override(
            max_attempts=max_attempts, backoff=backoff, timeout=timeout, retry_on=retry_on, give_up_on=give_up_on
        )
        options = {"name": checked_name(name or default_name(target)), "policy": policy}
        try:
            setattr(target, STEP, options)
        except (AttributeError, TypeError) as error:
            raise DefinitionError(f"@step must decorate a function or a method, got {target!r}") from error
        remember_names(target)
        return target

    return declare if function is None else declare(function)


@overload
def workflow(function: F, /) -> F: ...
@overload
def workflow(
    *,
    name: str | None = None,
    version: str = "1",
    tags: Sequence[str] = (),
    execution_timeout: Duration | None = None,
    singleton: Singleton | None = None,
    search_attributes: type | None = None,
    on_event: str | Sequence[str] = (),
    debounce: Duration | None = None,
    batch: Batch | None = None,
    updates: Mapping[str, UpdateValidator] | None = None,
    dead_letter: Callable[..., Any] | str | None = None,
    on_success: Callable[..., Any] | str | None = None,
    on_failure: Callable[..., Any] | str | None = None,
) -> Callable[[F], F]: ...
def workflow(
    function: F | None = None,
    /,
    *,
    name: str | None = None,
    version: str = "1",
    tags: Sequence[str] = (),
    execution_timeout: Duration | None = None,
    singleton: Singleton | None = None,
    search_attributes: type | None = None,
    on_event: str | Sequence[str] = (),
    debounce: Duration | None = None,
    batch: Batch | None = None,
    updates: Mapping[str, UpdateValidator] | None = None,
    dead_letter: Callable[..., Any] | str | None = None,
    on_success: Callable[..., Any] | str | None = None,
    on_failure: Callable[..., Any] | str | None = None,
) -> F | Callable[[F], F]:
    """Declare `async def (ctx: WorkflowContext, input)` as a workflow.

    A class with `async def run(self, ctx, input)` works too. Each turn of a run gets its own instance, whose
    constructor parameters are dependencies. In the body, calling one of its `@step` methods on `self` is durable.

    Args:
        function: The function or class, if the decorator is used without parentheses.
        name: Name to record. Default: the function's name.
        version: A run keeps the version it was started with. A new run takes the newest version.
        tags: Tags of every run.
        execution_timeout: Age at which a run is cancelled, wherever it is.
        singleton: Limit of the runs that share a key.
        search_attributes: Pydantic model or TypedDict that the search attributes of a run must match.
        on_event: Names of events. Each event starts a run `evt:<event id>:<workflow>` with its payload as the input.
        debounce: Start one run with the last payload once no further event has arrived for this long.
        batch: Start one run for several events, with the input `{"events": [payload, ...]}`.
        updates: Validators by the name of the update (see `ctx.on_update`). A validator refuses a value by raising or
            by returning the reason.
        dead_letter: What to start when a run is given up as dead (see `max_recovery_attempts`): a workflow, its name,
            or a plain `async def (ctx, letter: DeadLetter)`, which becomes the workflow `<name>.dlq`.
        on_success: What to start when a run has completed: a workflow, its name, or a plain
            `async def (ctx, ended: EndedRun)`, which becomes the workflow `<name>.on_success`.
        on_failure: What to start when a run has failed, in the same forms: `<name>.on_failure`.

    Returns:
        The function or class, unchanged.

    Raises:
        DefinitionError: the signature or an option is invalid.
    """

    def declare(target: F) -> F:
        if isinstance(tags, str):
            raise DefinitionError(f"tags must be a sequence of strings, got the string {tags!r}")
        if debounce is not None and batch is not None:
            raise DefinitionError("at most one of debounce and batch must be given, got both")
        if (debounce is not None or batch is not None) and not on_event:
            raise DefinitionError("debounce and batch must be given with on_event, got no events to collect")
        for update, validator in (updates or {}).items():
            checked_part("name of an update", update)
            step_definition(validator)
        options = {
            "name": checked_workflow_name(name or default_name(target)),
            "version": checked_name(version),
            "tags": tuple(tags),
            "execution_timeout": None if execution_timeout is None else parse_duration(execution_timeout),
            "singleton": singleton,
            "search_attributes": search_attributes,
            "triggers": (on_event,) if isinstance(on_event, str) else tuple(on_event),
            "debounce": None if debounce is None else parse_duration(debounce),
            "batch": batch,
            "updates": dict(updates or {}),
            "dead_letter": dead_letter,
            "on_success": on_success,
            "on_failure": on_failure,
        }
        remember_names(target)
        cls: Any = target
        if inspect.isclass(cls):
            make_durable(cls)
        setattr(target, _WORKFLOW, options)
        return target

    return declare if function is None else declare(function)


def step_definition(function: Callable[..., Any], *, leading: tuple[str, ...] = ()) -> StepDefinition:
    """Return the definition of a step function. An undecorated function gets the defaults.

    Args:
        leading: Parameters that the engine passes before the input; the body of a transaction has one.

    Raises:
        DefinitionError: the signature does not fit a step.
    """
    declared = getattr(function, STEP, None)
    if not leading and (known := _remembered(function, declared)) is not None:
        definition: StepDefinition = known
        return definition
    definition = _step_definition(function, leading)
    if not leading:
        _remember(function, declared, definition)
    return definition


def _step_definition(function: Callable[..., Any], leading: tuple[str, ...]) -> StepDefinition:
    function = plain(function)
    if not callable(function):
        raise DefinitionError(
            f"a step must be a function, got {shown(function)}. Pass the function itself, without calling it"
        )
    if is_workflow(function):
        raise DefinitionError(
            f"a step must not be a workflow, got {default_name(function)!r}. Start a workflow with ctx.child"
        )
    written = function
    if isinstance(function, Method):
        written, leading = function.function, ("self",)
    options: Mapping[str, Any] = getattr(written, STEP, None) or {"name": default_name(written)}
    signature = signature_of(written, f"step {options['name']!r}", leading=leading)
    return StepDefinition(
        function=function,
        input_type=signature.input_type,
        output_type=signature.output_type,
        default=signature.default,
        blocking=not inspect.iscoroutinefunction(function_of(written)),
        **options,
    )


def step_definitions(step: Callable[..., Any]) -> list[StepDefinition]:
    """Return the definition of a step function, or of each step method of a class.

    Raises:
        DefinitionError: a signature does not fit a step, or the class has none.
    """
    if not inspect.isclass(step):
        return [step_definition(step)]
    found = [step_definition(method) for method in step_methods(step)]
    if not found:
        raise DefinitionError(f"the class {default_name(step)!r} has no steps. Decorate its methods with @step")
    return found


def is_workflow(function: Callable[..., Any]) -> bool:
    """Whether it is decorated with `@workflow`."""
    return _declared(function) is not None


def workflow_definition(function: Callable[..., Any]) -> WorkflowDefinition:
    """Return the definition of a function or a class that is decorated with `@workflow`.

    Raises:
        DefinitionError: it is not decorated, or its signature does not fit a workflow.
    """
    options = _declared(function)
    if options is None:
        raise DefinitionError(f"{default_name(function)!r} is not a workflow. Decorate it with @workflow")
    if (known := _remembered(function, options)) is not None:
        definition: WorkflowDefinition = known
        return definition
    definition = _workflow_definition(function, options)
    _remember(function, options, definition)
    return definition


def _workflow_definition(function: Callable[..., Any], options: Mapping[str, Any]) -> WorkflowDefinition:
    label = f"workflow {options['name']!r}"
    owner = function if inspect.isclass(function) else None
    if owner is not None and not inspect.isfunction(inspect.getattr_static(owner, "run", None)):
        raise DefinitionError(f"the class of {label} must have `async def run(self, ctx, input)`, got none")
    body = function if owner is None else Method(owner, "run")
    written = body.function if isinstance(body, Method) else body
    if not inspect.iscoroutinefunction(function_of(written)):
        raise DefinitionError(f"{label} must be `async def (ctx: WorkflowContext, input)`, got a plain function")
    leading = ("ctx",) if owner is None else ("self", "ctx")
    signature = signature_of(written, label, leading=leading)
    refuse_data_as_context(written, label, len(leading) - 1)
    for used in _steps_in(written):
        # Refuse an invalid step now, not when a run calls it.
        step_definition(used)
    return WorkflowDefinition(
        function=body,
        input_type=signature.input_type,
        output_type=signature.output_type,
        default=signature.default,
        origin=_origin(function),
        owner=owner,
        **options,
    )


def _steps_in(body: Callable[..., Any]) -> list[Callable[..., Any]]:
    """Return the decorated functions that a body names."""
    if not inspect.isfunction(body):
        return []
    named = [body.__globals__.get(name) for name in body.__code__.co_names]
    for cell in body.__closure__ or ():
        with suppress(ValueError):  # not assigned yet
            named.append(cell.cell_contents)
    return [each for each in named if inspect.isfunction(each) and hasattr(each, STEP)]


def _declared(function: Callable[..., Any]) -> Mapping[str, Any] | None:
    """Return the definition that `@workflow` stored. A class does not inherit it, because a name and a version identify
    one workflow.
    """
    declared: Mapping[str, Any] | None
    declared = vars(function).get(_WORKFLOW) if inspect.isclass(function) else getattr(function, _WORKFLOW, None)
    return declared


def default_name(function: Callable[..., Any]) -> str:
    """The name of a function, `Class.method` for a method."""
    qualified: str = getattr(function, "__qualname__", type(function).__qualname__)
    return qualified.rpartition("<locals>.")[2]


def _origin(function: Callable[..., Any]) -> str | None:
    module: str | None = getattr(function, "__module__", None)
    return None if module in (None, "__main__") else module.partition(".")[0] if module else None


def _remembered(function: Callable[..., Any], declared: object) -> Any:
    """Return the definition that was created from exactly this function. None if there is none yet.

    A bound method is another object each time, a class does not inherit it, and `functools.wraps` copies it onto
    functions that it was not made of.
    """
    known = getattr(function, _DEFINITION, None)
    return known[2] if known is not None and known[0] is function and known[1] is declared else None


def _remember(function: Callable[..., Any], declared: object, definition: object) -> None:
    if inspect.isfunction(function) or inspect.isclass(function):
        setattr(function, _DEFINITION, (function, declared, definition))
