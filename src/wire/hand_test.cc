#include "wire/hand.h"

#include <gtest/gtest.h>

#include <random>

#include "wire/bytes.h"

namespace glovebox::wire {
namespace {

using From = FrameReader::From;

std::string header(std::uint32_t size, std::uint32_t id, std::uint8_t type, std::uint8_t zero = 0) {
  return Writer().u32(size).u32(id).u8(type).u8(0).u8(zero).u8(0).take();
}

StartSpec full_spec() {
  StartSpec spec;
  spec.argv = {"bash", "-c", "", "echo ü"};
  spec.env = {"A=1", "B="};
  spec.cwd = "/work";
  spec.user = "1000:1000";
  spec.stdin_mode = StdinMode::pipe;
  spec.stderr_mode = OutputMode::discard;
  spec.attach = Attach::hold;
  spec.timeout_ms = 1234;
  return spec;
}

ProcessInfo full_info() {
  ProcessInfo info;
  info.handle = 7;
  info.pid = 12;
  info.kind = Kind::tool;
  info.status = Status::signaled;
  info.exit_code = -1;
  info.signal = 9;
  info.timed_out = true;
  info.started_ms = 1'700'000'000'000;
  info.ended_ms = 1'700'000'000'001;
  info.output_end = 1ull << 40;
  info.argv = {"bash"};
  return info;
}

void refused_when_cut_or_lengthened(const std::string& whole, auto decode) {
  EXPECT_TRUE(decode(whole));
  EXPECT_FALSE(decode(whole + "x"));
  for (std::size_t size = 0; size < whole.size(); ++size)
    EXPECT_FALSE(decode(std::string_view(whole).substr(0, size))) << size;
}

TEST(Bytes, FieldsComeBackAsTheyWent) {
  std::string bytes =
      Writer().u8(255).u32(0xdeadbeef).u64(~0ull).i64(-5).text("hi").list({"", "x"}).take();
  Reader in(bytes);
  EXPECT_EQ(*in.u8(), 255);
  EXPECT_EQ(*in.u32(), 0xdeadbeef);
  EXPECT_EQ(*in.u64(), ~0ull);
  EXPECT_EQ(*in.i64(), -5);
  EXPECT_EQ(*in.text(2), "hi");
  EXPECT_EQ(*in.list(2, 1), (std::vector<std::string>{"", "x"}));
  EXPECT_TRUE(in.done());
}

TEST(Bytes, NumbersAreLittleEndian) {
  EXPECT_EQ(Writer().u32(0x01020304).take(), std::string("\x04\x03\x02\x01"));
}

TEST(Bytes, LimitsAndEndsAreKept) {
  EXPECT_FALSE(Reader("abc").u32());
  EXPECT_EQ(Reader(Writer().text("long").take()).text(3).error().code, Code::too_large);
  EXPECT_FALSE(Reader(Writer().u32(100).take()).text(1000));
  EXPECT_EQ(Reader(Writer().list({"a", "b"}).take()).list(1, 9).error().code, Code::too_large);
  EXPECT_FALSE(Reader(Writer().u32(1'000'000).take()).list(1'000'000, 9));
  EXPECT_FALSE(Reader("x").done());
}

TEST(Frames, ComeOutOneByOneHoweverTheStreamIsCut) {
  std::string stream = encode_frame(Type::ping, 1, "one") + encode_frame(Type::list, 2, "") +
                       encode_frame(Type::input, 3, std::string(kMaxPayload, 'x'));
  for (std::size_t step : {1ul, 7ul, 4096ul, stream.size()}) {
    FrameReader reader(From::engine);
    std::vector<Frame> frames;
    for (std::size_t at = 0; at < stream.size(); at += step) {
      reader.feed(std::string_view(stream).substr(at, step));
      for (;;) {
        auto frame = reader.next();
        ASSERT_TRUE(frame) << frame.error().what;
        if (!*frame) break;
        frames.push_back(std::move(**frame));
      }
    }
    ASSERT_EQ(frames.size(), 3u);
    EXPECT_EQ(frames[0].type, Type::ping);
    EXPECT_EQ(frames[0].payload, "one");
    EXPECT_EQ(frames[1].id, 2u);
    EXPECT_EQ(frames[2].payload.size(), kMaxPayload);
  }
}

TEST(Frames, AnErrorIsKnownFromTheHeaderAndIsFinal) {
  struct Case {
    From from;
    std::string bytes;
  } cases[] = {
      {From::engine, header(kMaxPayload + 1, 1, 13)},
      {From::engine, header(0xffffffff, 1, 13)},
      {From::engine, header(0, 1, 0)},
      {From::engine, header(0, 1, 15)},
      {From::engine, header(0, 1, 64)},
      {From::engine, header(0, 1, 255)},
      {From::engine, header(0, 0, 13)},
      {From::engine, header(0, 1, 13, 1)},
      {From::hand, header(0, 1, 1)},
      {From::hand, header(0, 1, 63)},
      {From::hand, header(0, 1, 74)},
      {From::hand, header(0, 0, 65)},
  };
  for (const auto& [from, bytes] : cases) {
    FrameReader reader(from);
    reader.feed(bytes);
    EXPECT_FALSE(reader.next()) << hex({reinterpret_cast<const std::uint8_t*>(bytes.data()), 12});
    reader.feed(encode_frame(from == From::engine ? Type::ping : Type::pong, 1, ""));
    EXPECT_FALSE(reader.next());
  }
}

TEST(Frames, TheHandMayComplainWithoutARequest) {
  FrameReader reader(From::hand);
  reader.feed(encode_frame(Type::error, 0, encode_error(Error{Code::invalid, "what was that"})));
  auto frame = reader.next();
  ASSERT_TRUE(frame && *frame);
  EXPECT_EQ((*frame)->type, Type::error);
}

TEST(StartSpecCodec, ComesBackAsItWent) {
  auto back = decode_start(encode(full_spec()));
  ASSERT_TRUE(back) << back.error().what;
  EXPECT_EQ(encode(*back), encode(full_spec()));
  EXPECT_EQ(back->argv, full_spec().argv);
  EXPECT_EQ(back->attach, Attach::hold);
}

TEST(StartSpecCodec, RefusesWhatCannotBeStarted) {
  auto refused = [](auto change) {
    StartSpec spec = full_spec();
    change(spec);
    return !decode_start(encode(spec));
  };
  EXPECT_TRUE(refused([](StartSpec& s) { s.argv.clear(); }));
  EXPECT_TRUE(refused([](StartSpec& s) { s.argv[0] = ""; }));
  EXPECT_TRUE(refused([](StartSpec& s) { s.argv[1] = std::string("a\0b", 3); }));
  EXPECT_TRUE(refused([](StartSpec& s) { s.argv.resize(10'000); }));
  EXPECT_TRUE(refused([](StartSpec& s) { s.env = {"novalue"}; }));
  EXPECT_TRUE(refused([](StartSpec& s) { s.env = {"=x"}; }));
  EXPECT_TRUE(refused([](StartSpec& s) { s.env = {""}; }));
  EXPECT_TRUE(refused([](StartSpec& s) { s.cwd = std::string(5000, '/'); }));
  EXPECT_TRUE(refused([](StartSpec& s) { s.user = std::string(300, 'u'); }));
  EXPECT_TRUE(refused([](StartSpec& s) { s.kind = Kind::file, s.pty = true; }));
  EXPECT_TRUE(refused([](StartSpec& s) { s.pty = true, s.rows = 0; }));
  EXPECT_TRUE(refused([](StartSpec& s) { s.pty = true, s.cols = 70'000; }));
  EXPECT_TRUE(refused([](StartSpec& s) { s.kind = static_cast<Kind>(3); }));
  EXPECT_TRUE(refused([](StartSpec& s) { s.attach = static_cast<Attach>(4); }));
  EXPECT_TRUE(refused([](StartSpec& s) { s.stdin_mode = StdinMode::given; }));
}

TEST(StartSpecCodec, InputIsGivenToToolsAlone) {
  StartSpec spec = full_spec();
  spec.kind = Kind::tool;
  spec.stdin_mode = StdinMode::given;
  spec.input = std::string("{\"command\":\"a\\u0000\"}\0\xff", 24);
  auto back = decode_start(encode(spec));
  ASSERT_TRUE(back) << back.error().what;
  EXPECT_EQ(back->input, spec.input);
  refused_when_cut_or_lengthened(encode(spec), decode_start);
  spec.input = std::string(kMaxGiven + 1, 'x');
  EXPECT_FALSE(decode_start(encode(spec)));
}

TEST(ProcessInfoCodec, ComesBackAsItWent) {
  auto back = decode_process(encode(full_info()));
  ASSERT_TRUE(back) << back.error().what;
  EXPECT_EQ(encode(*back), encode(full_info()));
  EXPECT_EQ(back->exit_code, -1);
}

TEST(ProcessInfoCodec, RefusesWhatNoHandSays) {
  auto refused = [](auto change) {
    ProcessInfo info = full_info();
    change(info);
    return !decode_process(encode(info));
  };
  EXPECT_TRUE(refused([](ProcessInfo& i) { i.handle = 0; }));
  EXPECT_TRUE(refused([](ProcessInfo& i) { i.handle = kByPid; }));
  EXPECT_TRUE(refused([](ProcessInfo& i) { i.status = static_cast<Status>(4); }));
  EXPECT_TRUE(refused([](ProcessInfo& i) { i.argv.resize(65); }));
  EXPECT_TRUE(refused([](ProcessInfo& i) { i.argv = {std::string(4097, 'a')}; }));
  EXPECT_TRUE(refused([](ProcessInfo& i) { i.argv = {std::string(4096, 'a'), "b"}; }));
}

TEST(OtherPayloads, ComeBackAsTheyWent) {
  Welcome welcome{kHandVersion, "0123456789abcdef", "0.1", 1, 2, 3};
  EXPECT_EQ(encode(*decode_welcome(encode(welcome))), encode(welcome));
  Error error{Code::conflict, "no stdin", "STDIN_NOT_WRITABLE"};
  auto back = decode_error(encode_error(error));
  ASSERT_TRUE(back);
  EXPECT_EQ(back->code, Code::conflict);
  EXPECT_EQ(back->tag, error.tag);
  EXPECT_EQ(back->what, error.what);
  std::string payload = encode(Output{5, kStderr, 9, "text"});
  auto output = decode_output(payload);
  ASSERT_TRUE(output);
  EXPECT_EQ(output->offset, 5u);
  EXPECT_EQ(output->bytes, "text");
}

TEST(OtherPayloads, AnErrorTooLongIsCutSoThatItArrives) {
  EXPECT_TRUE(decode_error(
      encode_error(Error{Code::internal, std::string(100'000, 'x'), std::string(1000, 't')})));
}

TEST(OtherPayloads, RefuseWhatIsNotOfTheProtocol) {
  EXPECT_FALSE(decode_welcome(encode(Welcome{1, std::string(65, 'n'), "", 0, 0, 0})));
  EXPECT_FALSE(decode_error(Writer().u8(200).text("").text("").take()));
  EXPECT_FALSE(decode_output(encode(Output{0, 3, 0, "x"})));
  EXPECT_FALSE(decode_output(encode(Output{0, kStdout, 0, ""})));
  EXPECT_FALSE(decode_output(encode(Output{0, kStdout, 0, std::string(kMaxChunk + 1, 'x')})));
  EXPECT_FALSE(decode_output(encode(Output{~0ull, kStdout, 0, "xy"})));
}

TEST(EveryPayload, IsRefusedWhenCutOrLengthened) {
  refused_when_cut_or_lengthened(encode(full_spec()), decode_start);
  refused_when_cut_or_lengthened(encode(full_info()), decode_process);
  refused_when_cut_or_lengthened(encode(Welcome{1, "n", "v", 0, 0, 0}), decode_welcome);
  refused_when_cut_or_lengthened(encode_error(Error{Code::gone, "w", "T"}), decode_error);
}

TEST(EveryPayload, WhatIsAcceptedEncodesToTheSameBytes) {
  std::mt19937 random(20260101);
  for (int round = 0; round < 20'000; ++round) {
    std::string bytes = round % 2 ? encode(full_spec()) : encode(full_info());
    for (int flips = 1 + static_cast<int>(random() % 3); flips > 0; --flips)
      bytes[random() % bytes.size()] = static_cast<char>(random());
    if (auto spec = decode_start(bytes)) EXPECT_EQ(encode(*spec), bytes);
    if (auto info = decode_process(bytes)) EXPECT_EQ(encode(*info), bytes);
  }
}

}  // namespace
}  // namespace glovebox::wire
