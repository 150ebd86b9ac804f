#include "wire/launcher.h"

namespace glovebox::wire {

namespace {
constexpr std::size_t kIdLimit = 64, kPathLimit = 4096;
}  // namespace

std::string encode(const LauncherMessage& message) {
  return Writer()
      .u8(static_cast<std::uint8_t>(message.type))
      .u32(message.seq)
      .text(message.payload)
      .take();
}

Result<LauncherMessage> decode_launcher(std::string_view packet) {
  Reader in(packet);
  TRY(type, in.u8());
  TRY(seq, in.u32());
  TRY(payload, in.text(kLauncherMessage));
  TRY_DO(in.done());
  return LauncherMessage{static_cast<LauncherType>(type), seq, std::move(payload)};
}

namespace {

void write(Writer& out, const BoxTerms& terms) {
  out.u64(terms.limits.memory_bytes).u32(terms.limits.cpu_millis).u64(terms.limits.pids);
  out.u64(terms.max_file_bytes).list(terms.env).text(terms.cwd).text(terms.user);
}

Result<BoxTerms> read_terms(Reader& in) {
  TRY(memory_bytes, in.u64());
  TRY(cpu_millis, in.u32());
  TRY(pids, in.u64());
  TRY(max_file_bytes, in.u64());
  TRY(env, in.list(1024, 32 * 1024));
  TRY(cwd, in.text(kPathLimit));
  TRY(user, in.text(kIdLimit));
  return BoxTerms{{memory_bytes, cpu_millis, pids},
                  max_file_bytes,
                  std::move(env),
                  std::move(cwd),
                  std::move(user)};
}

}  // namespace

std::string hosts_file(std::string_view hostname) {
  return str("127.0.0.1 localhost ", hostname, "\n::1 localhost ip6-localhost ip6-loopback\n");
}

std::string encode(const PrepareBox& m) {
  Writer out;
  out.text(m.id).u32(m.base).text(m.image_root).text(m.box_dir).text(m.usr_mask);
  write(out, m.terms);
  return out.u8(m.spare).take();
}

Result<PrepareBox> decode_prepare(std::string_view payload) {
  Reader in(payload);
  TRY(id, in.text(kIdLimit));
  TRY(base, in.u32());
  TRY(image_root, in.text(kPathLimit));
  TRY(box_dir, in.text(kPathLimit));
  TRY(usr_mask, in.text(kPathLimit));
  TRY(terms, read_terms(in));
  TRY(spare, in.u8());
  TRY_DO(in.done());
  return PrepareBox{
      std::move(id),    base,      std::move(image_root), std::move(box_dir), std::move(usr_mask),
      std::move(terms), spare != 0};
}

std::string encode(const LaunchBox& m) {
  Writer out;
  out.text(m.id).text(m.hostname);
  write(out, m.terms);
  return out.take();
}

Result<LaunchBox> decode_launch(std::string_view payload) {
  Reader in(payload);
  TRY(id, in.text(kIdLimit));
  TRY(hostname, in.text(kIdLimit));
  TRY(terms, read_terms(in));
  TRY_DO(in.done());
  return LaunchBox{std::move(id), std::move(hostname), std::move(terms)};
}

std::string encode(const BoxNote& n) {
  return Writer()
      .text(n.id)
      .u8(static_cast<std::uint8_t>(n.stage))
      .u32(n.base)
      .u32(n.pid)
      .u32(static_cast<std::uint32_t>(n.wait_status))
      .u8(n.spare)
      .take();
}

Result<BoxNote> decode_note(std::string_view payload) {
  Reader in(payload);
  TRY(id, in.text(kIdLimit));
  TRY(stage, in.u8());
  TRY(base, in.u32());
  TRY(pid, in.u32());
  TRY(wait_status, in.u32());
  TRY(spare, in.u8());
  TRY_DO(in.done());
  if (stage > static_cast<std::uint8_t>(BoxStage::exited))
    return Error{Code::invalid, "no such stage"};
  return BoxNote{std::move(id), static_cast<BoxStage>(stage),           base,
                 pid,           static_cast<std::int32_t>(wait_status), spare != 0};
}

}  // namespace glovebox::wire
