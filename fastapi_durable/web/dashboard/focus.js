// Keeps the keyboard's place while a page is drawn again.

const CONTROLS = "a[href], button, input, select, summary, textarea, [tabindex]";

// Remembers `element`, and returns what focuses the same control of the new content: the one of the same id, or the nth one
// of the same address or text. A button that is gone, such as "Pause", gives the focus to its successor, else to `root`.
export function placeOf(root, element = document.activeElement) {
  if (!root.contains(element)) return () => {};
  const controls = () => [...root.querySelectorAll(CONTROLS)];
  const alike = () => controls().filter((each) => mark(each) === wanted);
  const wanted = mark(element);
  const [nth, index] = [alike().indexOf(element), controls().indexOf(element)];
  return () => {
    const same = alike();
    for (const each of [same[nth], same.at(-1), controls()[index], root]) {
      each?.focus({ preventScroll: true });
      if (each && document.activeElement === each) return;
    }
  };
}

const mark = (element) => element.id || element.getAttribute("href") || element.getAttribute("name") || element.getAttribute("aria-label") || element.textContent;

export function keepingFocus(root, draw) {
  const again = placeOf(root);
  draw();
  again();
}
