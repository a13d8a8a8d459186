/** A refusal, answered with an HTTP status and a code. "not_performed" says that certainly nothing happened. */
export class Problem extends Error {
  constructor(status, code, detail) {
    super(code);
    Object.assign(this, { status, code, detail });
  }
}
