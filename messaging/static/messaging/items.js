/**
 * A list on screen that is kept in step with rows.
 *
 * An item is kept by its row's key and touched only when what it shows has changed, so focus, selection and a press that is
 * under way stay.
 */

export class Items {
  #items = new Map(); // key -> {element, shows}

  /** `make` gives an element for a row {key, …}; `fill` shows a row in its element. */
  constructor(list, { make, fill }) {
    Object.assign(this, { list, make, fill });
  }

  draw(rows) {
    const keys = new Set(rows.map(({ key }) => key));
    for (const [key, { element }] of this.#items) {
      if (keys.has(key)) continue;
      element.remove();
      this.#items.delete(key);
    }
    let place = this.list.firstElementChild;
    for (const row of rows) {
      const element = this.#item(row);
      if (element === place) place = place.nextElementSibling;
      else this.list.insertBefore(element, place);
    }
  }

  #item(row) {
    const shows = JSON.stringify(row);
    let item = this.#items.get(row.key);
    if (!item) this.#items.set(row.key, (item = { element: this.make(row), shows: "" }));
    if (item.shows !== shows) {
      this.fill(item.element, row);
      item.shows = shows;
    }
    return item.element;
  }
}
