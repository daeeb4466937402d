// What is chosen stays in sight inside the box that scrolls it; the page stays where it is.
import { on } from "./_common.js";

// `chosen()` gives the element, or nothing; `covered()` how many pixels at the box's top and bottom hide what is behind
// them. Returns {reveal, stay}: call reveal() where something else is chosen, stay() where what is in the box is drawn
// anew. Where the page lays the box out, late or anew beside something else, it stays by itself. What somebody has
// scrolled out of sight is left there.
export function keepInSight(box, chosen, covered, signal) {
  let size = ""; // of the box when it was last laid out, empty while it is not
  let seen = true;
  const sizeNow = () => (box.clientHeight > 0 ? `${box.clientWidth} × ${box.clientHeight}` : "");

  // How far it lies above (negative) or below what can be seen.
  function beyond([top, bottom]) {
    const target = sizeNow() && chosen()?.getBoundingClientRect();
    if (!target) return 0;
    const frame = box.getBoundingClientRect();
    const above = target.top - top - frame.top;
    return above < 0 ? above : Math.min(above, Math.max(0, target.bottom + bottom - frame.bottom));
  }

  function reveal() {
    seen = true;
    // Twice: what comes into sight may take its true height only then, and moves what is below it.
    for (let again = 0; again < 2; again++) {
      const by = beyond(covered());
      if (by) box.scrollTop += by;
    }
  }

  function stay() {
    if (seen) reveal();
  }

  const laidOut = new ResizeObserver(() => {
    if (size === "") reveal();
    else stay();
    size = sizeNow();
  });
  laidOut.observe(box);
  signal?.addEventListener("abort", () => laidOut.disconnect(), { once: true });
  // A box of another size is being laid out anew: it is not the user who scrolls it.
  on(box, "scroll", () => { if (sizeNow() === size) seen = Math.abs(beyond([0, 0])) < 1; }, { signal, passive: true });
  return { reveal, stay };
}
